from pathlib import Path

import pytest
import torch

from wsi2dmamba.core.errors import EncoderError
from wsi2dmamba.features.encoders import EncoderRequest, Normalisation, load_encoder

MODULE = """
import torch
from wsi2dmamba.features.encoders import Encoder, EncoderInfo

class Mean(Encoder):
    info = EncoderInfo("my-mean", 3, 0.5, None, "1")
    def preprocess(self, patches): return patches.permute(0, 3, 1, 2).float() / 255
    def forward(self, inputs): return inputs.mean((2, 3))

def encoder(): return Mean()
def plain(): return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
def wrong(): return 3
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_encoders.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return "own_encoders"


def test_your_own_encoder_is_used_as_it_is(own_module: str) -> None:
    encoder = load_encoder(f"{own_module}:encoder")
    features = encoder.encode(torch.full((2, 8, 8, 3), 51, dtype=torch.uint8))
    torch.testing.assert_close(features, torch.full((2, 3), 0.2))
    assert not encoder.training


def test_your_own_network_gets_the_usual_normalisation(own_module: str) -> None:
    encoder = load_encoder(EncoderRequest(f"{own_module}:plain", patch_px=16))
    assert (encoder.info.dim, encoder.info.patch_px, encoder.info.name) == (12, 16, "plain")


@pytest.mark.parametrize("name", ["wrong", "absent"])
def test_what_is_no_encoder_is_said(own_module: str, name: str) -> None:
    with pytest.raises(EncoderError, match=name):
        load_encoder(f"{own_module}:{name}")
    with pytest.raises(EncoderError, match="no_such_module"):
        load_encoder(f"no_such_module:{name}")


@pytest.mark.parametrize("spec", ["nonsense", "", "Texture "])
def test_unknown_names_are_one_line(spec: str) -> None:
    with pytest.raises(EncoderError):
        load_encoder(spec)


def test_normalisation_keeps_the_whole_field_of_view() -> None:
    patches = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    patches[:, :, 32:] = 255
    out = Normalisation(32, mean=(0, 0, 0), std=(1, 1, 1))(patches)
    assert out.shape == (1, 3, 32, 32)
    assert out[..., :14].abs().max() < 1e-6 and (out[..., 18:] - 1).abs().max() < 1e-6
