import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from wsi2dmamba.core.errors import DependencyError, EncoderError
from wsi2dmamba.features.encoders import EncoderRequest, load_encoder, registry
from wsi2dmamba.features.encoders.base import Normalisation
from wsi2dmamba.features.encoders.cards import CARDS, card_table
from wsi2dmamba.features.encoders.texture import TextureEncoder
from wsi2dmamba.features.encoders.weights import load_strictly, local_or_hub_weights, read_state_dict

EXPECTED = {
    "uni", "uni2-h", "conch", "conch-v1.5", "virchow", "virchow2", "gigapath", "h-optimus-0", "h-optimus-1",
    "phikon", "phikon-v2", "hibou-b", "hibou-l", "midnight-12k", "kaiko-vits8", "kaiko-vits16", "kaiko-vitb8",
    "kaiko-vitb16", "kaiko-vitl14", "lunit-dino-s16", "lunit-dino-s8", "ctranspath", "dinov2-s", "dinov2-b",
    "dinov2-l", "dinov2-g", "resnet50", "texture",
}  # fmt: skip


def has_timm() -> bool:
    try:
        import timm  # noqa: F401
    except (ImportError, RuntimeError):
        return False
    return True


def test_every_encoder_of_the_field_has_a_card() -> None:
    assert {card.name for card in CARDS} >= EXPECTED
    assert len({card.name for card in CARDS}) == len(CARDS)
    for card in CARDS:
        assert card.licence and card.pooling and card.dim > 0
        assert card.library != "timm" or (card.architecture and card.normalisation and card.patch_px)


def test_the_card_of_texture_tells_the_truth() -> None:
    card, info = registry.find_card("texture"), TextureEncoder().info
    assert card is not None and (card.dim, card.mpp, card.patch_px) == (info.dim, info.mpp, info.patch_px)


@pytest.mark.parametrize("name", ["UNI2_h", "uni2h", "Virchow-2", "phikon_v2"])
def test_names_are_found_however_they_are_spelt(name: str) -> None:
    assert registry.find_card(name) is not None


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(EncoderError, match="did you mean 'phikon-v2'"):
        load_encoder("phikon-v3")


def test_the_table_is_printed_without_loading_torch() -> None:
    program = "import sys; from wsi2dmamba.cli import app; app(['encoders'], standalone_mode=False); "
    program += "sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "MahmoodLab/UNI2-h" in done.stdout and "gated" in done.stdout
    assert len(card_table().splitlines()) == len(CARDS) + 1


@pytest.mark.skipif(has_timm(), reason="timm is installed")
def test_a_missing_library_says_what_to_install() -> None:
    with pytest.raises(DependencyError, match=r"pip install 'wsi2dmamba\[encoders\]'"):
        load_encoder("uni")


def test_conch_without_its_package_says_what_to_install() -> None:
    with pytest.raises(DependencyError, match="CONCH"):
        load_encoder("conch")


@pytest.mark.skipif(not has_timm(), reason="timm is not installed")
@pytest.mark.parametrize("card", [card for card in CARDS if card.library == "timm"], ids=lambda card: card.name)
def test_the_network_of_every_card_gives_the_dimension_it_promises(card: registry.EncoderCard) -> None:
    from wsi2dmamba.features.encoders.timm_model import build_timm, timm_encoder

    with torch.device("meta"):
        encoder = timm_encoder(card, build_timm(card), "1", EncoderRequest(card.name))
        features = encoder.forward(torch.zeros(2, 3, card.patch_px or 224, card.patch_px or 224))
    assert features.shape == (2, card.dim) and encoder.info.dim == card.dim


@pytest.mark.skipif(not has_timm(), reason="timm is not installed")
def test_local_weights_of_a_published_encoder_are_loaded_whole(tmp_path: Path) -> None:
    from wsi2dmamba.features.encoders.timm_model import build_timm

    card = registry.find_card("lunit-dino-s16")
    assert card is not None
    torch.manual_seed(0)
    model = build_timm(card)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    encoder = load_encoder(EncoderRequest(card.name, weights=str(tmp_path)))
    patches = torch.randint(0, 256, (2, 224, 224, 3), dtype=torch.uint8)
    with torch.no_grad():
        expected = model.eval()(encoder.preprocess(patches))
    torch.testing.assert_close(encoder.encode(patches), expected, atol=1e-4, rtol=1e-4)
    assert encoder.info.revision.startswith("sha256:")


class Two(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = torch.nn.Linear(2, 3), torch.nn.Linear(3, 1)


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path) -> None:
    state = Two().state_dict()
    state["c.weight"] = state.pop("b.weight")
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(EncoderError, match=r"1 tensors missing, 1 unknown.*b\.weight"):
        load_strictly(Two(), tmp_path / "w.safetensors", "two")
    save_file(Two().state_dict(), tmp_path / "good.safetensors")
    load_strictly(Two(), tmp_path / "good.safetensors", "two")


def test_a_checkpoint_with_code_in_it_is_not_loaded(tmp_path: Path) -> None:
    torch.save({"state_dict": {"w": torch.ones(2)}}, tmp_path / "good.bin")
    assert set(read_state_dict(tmp_path / "good.bin")) == {"w"}
    torch.save({"w": print}, tmp_path / "bad.bin")
    with pytest.raises(EncoderError, match="more than tensors"):
        read_state_dict(tmp_path / "bad.bin")


def test_offline_weights_that_are_not_here_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(EncoderError, match=r"nobody/nothing.*--weights"):
        local_or_hub_weights("nobody/nothing", None, offline=True)
    with pytest.raises(EncoderError, match="do not exist"):
        local_or_hub_weights("nobody/nothing", str(tmp_path / "absent"), offline=True)


def test_a_package_offers_its_encoder_by_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    value = "wsi2dmamba.features.encoders.texture:TextureEncoder"
    point = EntryPoint("from-a-package", value, registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda group: [point] if group == registry.ENTRY_POINT_GROUP else [])
    assert load_encoder("from-a-package").info.name == "texture"


def test_resize_and_centre_crop_is_what_gigapath_asks_for() -> None:
    patches = torch.arange(256, dtype=torch.uint8).view(1, 1, 256, 1).expand(1, 256, 256, 3)
    out = Normalisation(224, (0, 0, 0), (1, 1, 1), resize_px=256)(patches)
    torch.testing.assert_close(out[0, 0, 0] * 255, torch.arange(16, 240).float())


def test_hibou_is_loaded_as_dinov2_with_registers_and_never_runs_its_code(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    import json

    config = transformers.Dinov2WithRegistersConfig(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14, num_register_tokens=4
    )
    transformers.Dinov2WithRegistersModel(config).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    settings.update(model_type="dinov2", auto_map={"AutoModel": "evil.Evil"}, architectures=["Dinov2Model"])
    (tmp_path / "config.json").write_text(json.dumps(settings))
    (tmp_path / "evil.py").write_text("raise SystemExit('ran code of the hub')")
    encoder = load_encoder(EncoderRequest("hibou-b", weights=str(tmp_path), patch_px=28))
    assert encoder.encode(torch.zeros(2, 28, 28, 3, dtype=torch.uint8)).shape == (2, 24)
    assert encoder.info.name == "hibou-b"
