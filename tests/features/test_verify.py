from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.fabricate import irregular_grid, tile_file
from wsi2dmamba.cli import app
from wsi2dmamba.core.errors import InputError
from wsi2dmamba.features.inspection import describe_file, tissue_map
from wsi2dmamba.features.store import FeatureFile, write_features
from wsi2dmamba.features.verify import verify_file, verify_folder
from wsi2dmamba.slides.tilefile import write_tile_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    tiles = tile_file("a", irregular_grid(rng, 8, 8))
    features = rng.standard_normal((len(tiles), 5)).astype(np.float32)
    write_features(tmp_path / "a.h5", FeatureFile(features, tiles, "made-up", "1"))
    return tmp_path / "a.h5"


def test_a_sound_file_has_no_problem(path: Path) -> None:
    verdict = verify_file(path)
    assert verdict.problems == () and verdict.dim == 5 and verdict.patches > 40


def breakages() -> dict[str, tuple[object, str]]:
    def nan(file: h5py.File) -> None:
        file["features"][3, 1] = np.nan

    def moved(file: h5py.File) -> None:
        file["coords"][2] = file["coords"][2] + 1

    def doubled(file: h5py.File) -> None:
        file["grid"][1], file["coords"][1] = file["grid"][0], file["coords"][0]

    def swapped(file: h5py.File) -> None:
        for name in ("grid", "coords"):
            file[name][:2] = file[name][:2][::-1]

    def small_grid(file: h5py.File) -> None:
        file.attrs["grid_shape"] = np.array([2, 2])

    def small_slide(file: h5py.File) -> None:
        file["coords"].attrs["level0_width"] = 600

    def unfinished(file: h5py.File) -> None:
        del file.attrs["complete"]

    def no_tissue(file: h5py.File) -> None:
        del file["tissue"]

    def short(file: h5py.File) -> None:
        file["features"].resize(10, axis=0)

    return {
        "nan": (nan, "not finite"),
        "moved": (moved, "where their cell says"),
        "doubled": (doubled, "share a cell"),
        "swapped": (swapped, "row-major"),
        "small_grid": (small_grid, "outside the grid"),
        "small_slide": (small_slide, "outside the slide"),
        "unfinished": (unfinished, "never finished"),
        "no_tissue": (no_tissue, "tissue"),
        "short": (short, "10 features for"),
    }


@pytest.mark.parametrize("name", breakages())
def test_every_breakage_is_found(name: str, path: Path) -> None:
    break_it, words = breakages()[name]
    with h5py.File(path, "r+") as file:
        break_it(file)  # type: ignore[operator]
    assert any(words in problem for problem in verify_file(path).problems)


def test_a_folder_is_verified_whole_and_the_exit_code_tells(path: Path) -> None:
    write_tile_file(path.parent / "tiles" / "b.h5", tile_file("b", np.array([[0, 0], [0, 1]])))
    assert CliRunner().invoke(app, ["verify", str(path.parent)]).exit_code == 0
    cut = path.parent / "c.h5"
    cut.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    result = CliRunner().invoke(app, ["verify", str(path.parent)])
    assert result.exit_code == 1
    assert "c.h5" in result.output and "3 files" in result.output
    with pytest.raises(InputError):
        list(verify_folder(path.parent / "absent"))


def test_inspect_tells_what_is_there(path: Path) -> None:
    text = "\n".join(describe_file(path))
    for words in ("wsi2dmamba file of slide a", "0.5 µm/px", "5 × float32 by made-up", "grid of 8 × 8"):
        assert words in text


def test_the_map_is_dark_where_patches_are() -> None:
    grid = np.argwhere(np.ones((4, 2), dtype=bool))
    assert tissue_map(grid, (4, 4)) == ["██  ", "██  "]
