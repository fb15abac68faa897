"""Pixels as they are read, and as they are changed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from wsi2dmamba.core.errors import StoreError
from wsi2dmamba.features.encoders.base import Normalisation
from wsi2dmamba.training.tiles.augment import augment_images, jitter_colours, rotate_and_zoom, turn_and_flip
from wsi2dmamba.training.tiles.config import AugmentConfig
from wsi2dmamba.training.tiles.pixels import Pixels, read_image, resize


def test_images_are_rgb_and_sized_as_encoders_size_them(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (50, 50, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "i.png"), image[..., ::-1])
    same, size = read_image(tmp_path / "i.png", 50)
    assert size == (50, 50) and np.array_equal(same, image)
    smaller, _ = read_image(tmp_path / "i.png", 20)
    encoder = Normalisation(20, (0, 0, 0), (1, 1, 1))(torch.from_numpy(image)[None])[0].permute(1, 2, 0) * 255
    assert np.abs(smaller.astype(float) - encoder.numpy()).max() <= 0.5 + 1e-3
    assert resize(image, 50) is image


@pytest.mark.parametrize("cache_gb", [0.0, 1e-5, 1.0])
def test_pixels_are_the_same_whatever_is_kept(tmp_path, cache_gb):
    paths = []
    for value in range(6):
        paths.append(tmp_path / f"{value}.png")
        cv2.imwrite(str(paths[-1]), np.full((40, 40, 3), 10 * value, dtype=np.uint8))
    paths[3].write_bytes(b"no image")
    pixels = Pixels(paths, 40, cache_gb, threads=2)
    assert pixels.read_all() == [3]
    chosen = pixels.only([0, 1, 2, 4, 5])
    assert chosen.is_kept(0) == (cache_gb > 0) and chosen.is_kept(4) == (cache_gb == 1.0)
    assert chosen.batch([4, 0, 3])[:, 0, 0, 0].tolist() == [50, 0, 40]
    mean, deviation = chosen.statistics([0, 1])
    assert mean == pytest.approx([5 / 255] * 3, abs=1e-6) and deviation == pytest.approx([5 / 255] * 3, abs=1e-6)
    with pytest.raises(StoreError, match="could be read before"):
        pixels.batch([3])


def test_the_eight_symmetries_are_all_different_and_keep_every_pixel():
    image = torch.arange(27.0).view(1, 3, 3, 3).expand(8, 3, 3, 3)
    turned = turn_and_flip(image, torch.arange(8))
    assert len({tuple(one.flatten().tolist()) for one in turned}) == 8
    assert torch.equal(turned[0], image[0])
    assert torch.equal(turned.flatten(2).sort(-1).values, image.flatten(2).sort(-1).values)


def test_small_changes_stay_small_and_in_range():
    torch.manual_seed(0)
    images = torch.rand(16, 3, 24, 24)
    torch.testing.assert_close(rotate_and_zoom(images, 0.0, 0.0), images, atol=1e-5, rtol=0)
    changed = jitter_colours(images, 0.2)
    assert changed.min() >= 0 and changed.max() <= 1 and 0.01 < (changed - images).abs().mean() < 0.2
    grey = images.mean(1, keepdim=True).expand_as(images)
    spread = jitter_colours(grey, 0.2).std(dim=1).max()
    assert spread < 1e-5, "grey stays grey"


def test_augmentation_follows_the_seed():
    images, config = torch.rand(4, 3, 16, 16), AugmentConfig(rotation=10)
    torch.manual_seed(1)
    first = augment_images(images, config)
    second = augment_images(images, config)
    torch.manual_seed(1)
    assert torch.equal(augment_images(images, config), first) and not torch.equal(first, second)
    none = AugmentConfig(symmetries=False, zoom=0, jitter=0)
    assert torch.equal(augment_images(images, none), images)
