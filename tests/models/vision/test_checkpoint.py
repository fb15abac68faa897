"""Trained backbones on disk, and as encoders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.features.tiled import tiled_slides
from wsi2dmamba.core.errors import CheckpointError, EncoderError
from wsi2dmamba.features.config import ExtractConfig
from wsi2dmamba.features.encoders import EncoderRequest, load_encoder
from wsi2dmamba.features.encoders.cards import CARDS
from wsi2dmamba.features.extract import extract_slides
from wsi2dmamba.features.store import read_features
from wsi2dmamba.models.vision import CONFIGS, Checkpoint, ImageBackbone, InputFormat, VisionConfig, from_file, save

IMAGES = InputFormat(px=40, mpp=0.75, mean=(0.7, 0.5, 0.6), std=(0.2, 0.3, 0.1))
PATCHES = torch.randint(0, 256, (3, 40, 40, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def made(path: Path, config: VisionConfig = CONFIGS["nano"]) -> Checkpoint:
    torch.manual_seed(0)
    checkpoint = Checkpoint(ImageBackbone(config, 2).eval(), IMAGES, ("normal", "tumour"), {"best_epoch": 3})
    save(path, checkpoint)
    return checkpoint


def test_what_is_saved_is_read(tmp_path):
    written = made(tmp_path / "model.safetensors")
    for path in (tmp_path, tmp_path / "model.safetensors"):
        read = from_file(path)
        assert (read.input, read.class_names, read.details) == (IMAGES, ("normal", "tumour"), {"best_epoch": 3})
        images = torch.randn(2, 3, 40, 40)
        torch.testing.assert_close(read.model(images), written.model(images), rtol=0, atol=0)


def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path):
    file = tmp_path / "model.safetensors"
    made(file)
    cases = {
        "cut.safetensors": (file.read_bytes()[:5000], "damaged"),
        "model.pt": (b"", "is a pickle"),
        "bare.safetensors": (None, r"does not say what network.*--weights"),
    }
    save_file({"w": torch.ones(2)}, tmp_path / "bare.safetensors")
    for name, (content, message) in cases.items():
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(CheckpointError, match=message):
            from_file(tmp_path / name)
    with pytest.raises(CheckpointError, match="no image model"):
        from_file(tmp_path / "absent.safetensors")
    odd = VisionConfig(depths=(1, 1, 2, 1), dim=26)
    model = ImageBackbone(CONFIGS["nano"], 2)
    model.config = odd
    save(tmp_path / "odd.safetensors", Checkpoint(model, IMAGES, ("a", "b")))
    with pytest.raises(CheckpointError, match="does not describe its weights"):
        from_file(tmp_path / "odd.safetensors")


@pytest.mark.parametrize("spec", ["run", "run/fold-0", "run/fold-0/model.safetensors"])
def test_encoder_gives_the_features_of_the_model(tmp_path, spec):
    written = made(tmp_path / "run" / "fold-0" / "model.safetensors")
    encoder = load_encoder(f"2dvmamba:{tmp_path / spec}")
    assert (encoder.info.name, encoder.info.dim) == ("2dvmamba-run-fold-0", CONFIGS["nano"].features)
    assert (encoder.info.mpp, encoder.info.patch_px) == (0.75, 40)
    assert encoder.info.revision.startswith("sha256:")
    pixels = PATCHES.permute(0, 3, 1, 2).float() / 255
    normalised = (pixels - torch.tensor(IMAGES.mean).view(3, 1, 1)) / torch.tensor(IMAGES.std).view(3, 1, 1)
    with torch.no_grad():
        expected = written.model.features(normalised)
    torch.testing.assert_close(encoder.encode(PATCHES), expected, rtol=1e-4, atol=1e-5)


def test_a_size_takes_weights_bare_or_trained_here(tmp_path):
    written = made(tmp_path / "trained.safetensors")
    state = written.model.state_dict()
    torch.save({"state_dict": state}, tmp_path / "bare.pth")
    bare = load_encoder(EncoderRequest("2dvmamba:nano", weights=str(tmp_path / "bare.pth")))
    trained = load_encoder(EncoderRequest("2dvmamba:nano", weights=str(tmp_path / "trained.safetensors")))
    assert (bare.info.patch_px, trained.info.patch_px, trained.info.name) == (224, 40, "2dvmamba-nano")
    same = load_encoder(f"2dvmamba:{tmp_path / 'trained.safetensors'}")
    torch.testing.assert_close(trained.encode(PATCHES), same.encode(PATCHES))
    with pytest.raises(EncoderError, match="do not fit 2dvmamba:micro"):
        load_encoder(EncoderRequest("2dvmamba:micro", weights=str(tmp_path / "bare.pth")))


def test_a_wrong_request_says_what_to_do(tmp_path):
    for number in (0, 1):
        made(tmp_path / "run" / f"fold-{number}" / "model.safetensors")
    wrong = {
        "2dvmamba:tiny": "needs --weights FILE",
        "2dvmamba": "did you mean '2dvmamba:",
        "2dvmamba:tinny": "neither a size",
        f"2dvmamba:{tmp_path / 'run'}": "has 2 folds; name one",
        f"2dvmamba:{tmp_path}": "no finished fold",
    }
    for spec, message in wrong.items():
        with pytest.raises(EncoderError, match=message):
            load_encoder(spec)
    with pytest.raises(EncoderError, match="do not exist"):
        load_encoder(EncoderRequest("2dvmamba:tiny", weights=str(tmp_path / "absent.pth")))
    with pytest.raises(EncoderError, match="--pooling cls"):
        load_encoder(EncoderRequest("2dvmamba:tiny", pooling="cls"))


def test_cards_of_the_sizes_tell_the_truth():
    cards = {card.name: card.dim for card in CARDS if card.library == "2dvmamba"}
    assert cards == {f"2dvmamba:{size}": config.features for size, config in CONFIGS.items()}


def test_extract_takes_it_like_any_encoder(tmp_path):
    written = made(tmp_path / "run" / "model.safetensors")
    tiles = tiled_slides(tmp_path, ["a"])
    spec = f"2dvmamba:{tmp_path / 'run'}"
    config = ExtractConfig(tiles=tiles, out=tmp_path / "out", encoder=spec, workers=1, devices=("cpu",))
    assert [row.status for row in extract_slides(config).rows] == ["done"]
    stored = read_features(tmp_path / "out" / "2dvmamba-run" / "a.h5")
    assert stored.features.shape == (48, written.model.config.features) and stored.encoder == "2dvmamba-run"
    openslide = pytest.importorskip("openslide")
    slide = openslide.OpenSlide(tmp_path / "slides" / "a.svs")
    corners = stored.tiles.coords[:3].tolist()
    pixels = [np.asarray(slide.read_region((x, y), 0, (64, 64)).convert("RGB")) for x, y in corners]
    expected = load_encoder(spec).encode(torch.from_numpy(np.stack(pixels)))
    np.testing.assert_allclose(stored.features[:3], expected.numpy(), atol=0.02)
