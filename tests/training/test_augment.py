from __future__ import annotations

import pytest
import torch

from wsi2dmamba.models.base import Bag
from wsi2dmamba.training.augment import augment, drop_patches, symmetry


def numbered_bag(rows: int, cols: int) -> Bag:
    grid = torch.cartesian_prod(torch.arange(rows), torch.arange(cols))[1:]  # a corner is missing
    return Bag(torch.arange(len(grid), dtype=torch.float32)[:, None], grid, (rows, cols))


def as_image(bag: Bag) -> torch.Tensor:
    image = torch.full(bag.grid_shape, -1.0)
    image[bag.grid[:, 0], bag.grid[:, 1]] = bag.features[:, 0]
    return image


@pytest.mark.parametrize("which", range(8))
def test_symmetries_are_those_of_the_picture(which: int) -> None:
    bag = numbered_bag(3, 5)
    image = as_image(bag)
    image = image.flip(0) if which & 1 else image
    image = image.flip(1) if which & 2 else image
    image = image.T if which & 4 else image
    turned = symmetry(bag, which)
    torch.testing.assert_close(as_image(turned), image)
    keys = turned.grid[:, 0] * turned.grid_shape[1] + turned.grid[:, 1]
    assert (keys.diff() > 0).all()


def test_dropped_patches_leave_the_others_where_they_were() -> None:
    bag = numbered_bag(20, 20)
    torch.manual_seed(0)
    kept = drop_patches(bag, 0.3)
    assert 0.6 < len(kept) / len(bag) < 0.8
    original = as_image(bag)
    assert (original[kept.grid[:, 0], kept.grid[:, 1]] == kept.features[:, 0]).all()


def test_at_least_one_patch_stays() -> None:
    bag = numbered_bag(1, 3)
    assert all(len(drop_patches(bag, 0.999)) >= 1 for _ in range(50))
    one = numbered_bag(1, 2)
    assert augment(one, 0.9, flips=False) is one
