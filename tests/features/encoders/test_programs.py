import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

from wsi2dmamba.core.errors import EncoderError
from wsi2dmamba.features.encoders import EncoderRequest, load_encoder
from wsi2dmamba.features.encoders.programs import refuse_hidden_code


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 5, 8, stride=8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x).mean((2, 3))


@pytest.fixture(scope="module")
def network() -> Tiny:
    torch.manual_seed(0)
    return Tiny().eval()


@pytest.fixture(scope="module")
def exported(network: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "tiny.pt2"
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(network, (torch.rand(2, 3, 32, 32),), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)
    path.with_name("tiny.pt2.json").write_text(json.dumps({"patch_px": 32, "mpp": 0.5}))
    return path


def expected(network: Tiny, patches: torch.Tensor) -> torch.Tensor:
    pixels = patches.permute(0, 3, 1, 2) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return network((pixels - mean.view(3, 1, 1)) / std.view(3, 1, 1)).detach()


def test_torchscript_program_encodes_as_the_network_does(network: Tiny, tmp_path: Path) -> None:
    torch.jit.script(network).save(tmp_path / "tiny net.pt")
    encoder = load_encoder(EncoderRequest(f"torchscript:{tmp_path / 'tiny net.pt'}", patch_px=32))
    patches = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    torch.testing.assert_close(encoder.encode(patches), expected(network, patches), atol=1e-5, rtol=1e-5)
    assert (encoder.info.name, encoder.info.dim, encoder.info.mpp) == ("tiny-net", 5, None)
    assert encoder.info.revision.startswith("sha256:")


def test_exported_program_takes_its_input_from_the_settings_beside_it(network: Tiny, exported: Path) -> None:
    encoder = load_encoder(f"export:{exported}")
    patches = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    torch.testing.assert_close(encoder.encode(patches), expected(network, patches), atol=1e-5, rtol=1e-5)
    assert (encoder.info.patch_px, encoder.info.mpp) == (32, 0.5)


@pytest.mark.parametrize(
    ("member", "content"),
    [
        ("tiny/data/constants/opaque_obj_0", b""),
        ("tiny/data/aotinductor/model/model.so", b""),
        ("tiny/data/sample_inputs/model.pt", pickle.dumps(print)),
        ("tiny/data/weights/model_weights_config.json", b'{"config": {"w": {"use_pickle": true}}}'),
    ],
)
def test_export_file_with_anything_to_unpickle_or_run_is_refused(
    exported: Path, tmp_path: Path, member: str, content: bytes
) -> None:
    bad = tmp_path / "tiny.pt2"
    with zipfile.ZipFile(exported) as source, zipfile.ZipFile(bad, "w") as target:
        for entry in source.namelist():
            if entry != member:
                target.writestr(entry, source.read(entry))
        target.writestr(member, content)
    with pytest.raises(EncoderError):
        refuse_hidden_code(bad)


@pytest.mark.parametrize("kind", ["torchscript", "export"])
def test_a_file_that_is_no_program_is_one_line(tmp_path: Path, kind: str) -> None:
    junk = tmp_path / "junk.pt2"
    junk.write_bytes(b"not a program")
    with pytest.raises(EncoderError, match=r"junk\.pt2 is not"):
        load_encoder(f"{kind}:{junk}")
    with pytest.raises(EncoderError, match="does not exist"):
        load_encoder(f"{kind}:{tmp_path / 'absent.pt'}")


def test_a_program_of_another_size_says_what_to_set(network: Tiny, tmp_path: Path) -> None:
    class Fixed(Tiny):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layer(x).reshape(-1, 5 * 16)

    torch.jit.script(Fixed()).save(tmp_path / "fixed.pt")
    with pytest.raises(EncoderError, match=r"vector per patch|--encoder-px"):
        load_encoder(f"torchscript:{tmp_path / 'fixed.pt'}")


def test_unknown_key_beside_a_program_is_named(network: Tiny, tmp_path: Path) -> None:
    torch.jit.script(network).save(tmp_path / "tiny.pt")
    (tmp_path / "tiny.pt.json").write_text('{"patch": 3}')
    with pytest.raises(EncoderError, match="patch"):
        load_encoder(f"torchscript:{tmp_path / 'tiny.pt'}")
