import json
from pathlib import Path

import pytest
import torch

from wsi2dmamba.core.errors import EncoderError
from wsi2dmamba.features.encoders import EncoderRequest, load_encoder

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hub") / "tiny-vit"
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8
    )
    transformers.ViTModel(config).save_pretrained(place)
    settings = {"size": {"height": 32, "width": 32}, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
    (place / "preprocessor_config.json").write_text(json.dumps(settings))
    return place


def reference(folder: Path, patches: torch.Tensor) -> torch.Tensor:
    model = transformers.ViTModel.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(pixel_values=patches.permute(0, 3, 1, 2) / 127.5 - 1).last_hidden_state


@pytest.mark.parametrize(("pooling", "dim"), [(None, 24), ("cls", 24), ("mean", 24), ("cls+mean", 48), ("pooler", 24)])
def test_pools_the_tokens_as_asked(folder: Path, pooling: str | None, dim: int) -> None:
    encoder = load_encoder(EncoderRequest(f"hf:{folder}", offline=True, pooling=pooling))
    patches = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    tokens = reference(folder, patches)
    features = encoder.encode(patches)
    assert features.shape == (3, dim) and encoder.info.dim == dim
    if pooling in (None, "cls"):
        torch.testing.assert_close(features, tokens[:, 0], atol=1e-5, rtol=1e-4)
    elif pooling == "mean":
        torch.testing.assert_close(features, tokens[:, 1:].mean(1), atol=1e-5, rtol=1e-4)


def test_knows_its_input_and_its_exact_weights(folder: Path) -> None:
    encoder = load_encoder(f"hf:{folder}")
    assert encoder.info.name == "tiny-vit"
    assert encoder.info.patch_px == 32
    assert encoder.info.revision.startswith("sha256:")
    assert encoder.encode(torch.zeros(1, 64, 64, 3, dtype=torch.uint8)).shape == (1, 24)


def test_offline_and_absent_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(EncoderError, match="cannot load hf:nobody/nothing") as caught:
        load_encoder(EncoderRequest("hf:nobody/nothing", offline=True))
    assert "\n" not in str(caught.value)


def test_pickled_weights_are_never_loaded(folder: Path, tmp_path: Path) -> None:
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    (pickled / "config.json").write_text((folder / "config.json").read_text())
    torch.save(transformers.ViTModel.from_pretrained(folder).state_dict(), pickled / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="safetensors"):
        load_encoder(f"hf:{pickled}")
