from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.fabricate import irregular_grid, tile_file
from tests.shared_data import shared_path
from wsi2dmamba.cli import app
from wsi2dmamba.core.errors import LatticeError, StoreError
from wsi2dmamba.features.convert import ConvertOptions, convert_file
from wsi2dmamba.features.foreign.snapping import infer_step, snap
from wsi2dmamba.features.store import FeatureFile, read_features, write_features

INTEROP = {
    "clam features": ("clam", "clam/h5_files/CMU-1-Small-Region.h5"),
    "clam coordinates": ("clam", "clam/patches/CMU-1-Small-Region.h5"),
    "trident features": ("trident", "trident/20x_256px_0px_overlap/features_resnet50/CMU-1-Small-Region.h5"),
    "trident coordinates": ("trident", "trident/20x_256px_0px_overlap/patches/CMU-1-Small-Region_patches.h5"),
}


def contents(path: Path) -> dict[str, Any]:
    """Every dataset (dtype and values) and attribute of a file."""
    found: dict[str, Any] = {}
    with h5py.File(path) as file:
        found["attributes"] = {key: (type(value), np.asarray(value).tolist()) for key, value in file.attrs.items()}

        def visit(name: str, item: h5py.HLObject) -> None:
            values = (str(item.dtype), np.asarray(item[()]).tolist()) if isinstance(item, h5py.Dataset) else ()
            attributes = {key: (type(value), np.asarray(value).tolist()) for key, value in item.attrs.items()}
            found[name] = (values, attributes)

        file.visititems(visit)
    return found


def clam_file(path: Path, coords: np.ndarray, dim: int = 4, seed: int = 0) -> np.ndarray:
    features = np.random.default_rng(seed).standard_normal((len(coords), dim)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file["coords"] = np.asarray(coords, dtype=np.int32)
        file["features"] = features
    return features


def contours(*phases: tuple[int, int], side: int = 4, step: int = 256) -> np.ndarray:
    """CLAM's coordinates: a block of patches per contour, each with a grid of its own, column by column."""
    block = np.array([(c, r) for c in range(side) for r in range(side)]) * step
    return np.concatenate(
        [block + np.array(phase) + np.array([3 * side * step * i, 0]) for i, phase in enumerate(phases)]
    )


@pytest.mark.parametrize("name", INTEROP)
def test_real_files_of_other_tools_come_back_as_they_were(name: str, tmp_path: Path) -> None:
    kind, relative = INTEROP[name]
    original = shared_path(f"data/interop/{relative}")
    ours = convert_file(original, tmp_path / "ours", ConvertOptions("wsi2dmamba"))
    back = convert_file(ours, tmp_path / "back", ConvertOptions(kind))
    assert contents(back) == contents(original)
    if kind == "clam" and "features" in name:
        torch = pytest.importorskip("torch")
        tensor = torch.load(tmp_path / "back" / "pt_files" / "CMU-1-Small-Region.pt", weights_only=True)
        original_tensor = torch.load(shared_path("data/interop/clam/pt_files/CMU-1-Small-Region.pt"), weights_only=True)
        assert torch.equal(tensor, original_tensor)


def test_real_clam_and_trident_files_are_read_like_our_own() -> None:
    clam = read_features(shared_path("data/interop/" + INTEROP["clam features"][1]))
    assert (len(clam), clam.tiles.geometry.lattice.step_level0, clam.tiles.geometry.patch_px) == (50, 256, 256)
    assert clam.tiles.geometry.level0_size == (2220, 2967)
    trident = read_features(shared_path("data/interop/" + INTEROP["trident features"][1]))
    assert (trident.encoder, trident.tiles.geometry.mpp, trident.tiles.geometry.slide_mpp) == ("resnet50", 0.5, 0.5)
    np.testing.assert_array_equal(trident.tiles.geometry.lattice.corners(trident.tiles.grid), trident.tiles.coords)


@pytest.mark.parametrize("kind", ["clam", "trident", "stamp", "atlaspatch"])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_our_files_survive_every_format(kind: str, dtype: type, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tiles = tile_file("slide (1).v2", irregular_grid(rng, 9, 7))
    features = rng.standard_normal((len(tiles), 8)).astype(dtype)
    original = tmp_path / "slide (1).v2.h5"
    write_features(original, FeatureFile(features, tiles, "made-up", "rev", '{"precision": "x"}'))
    foreign = convert_file(original, tmp_path / "foreign", ConvertOptions(kind))
    back = convert_file(foreign, tmp_path / "back", ConvertOptions("wsi2dmamba"))
    assert contents(back) == contents(original)


def test_stamp_files_are_in_micrometres(tmp_path: Path) -> None:
    tiles = tile_file("s", np.array([[0, 0], [0, 1], [1, 0]]))
    write_features(tmp_path / "s.h5", FeatureFile(np.ones((3, 2), np.float16), tiles, "uni", "1"))
    path = convert_file(tmp_path / "s.h5", tmp_path / "stamp", ConvertOptions("stamp"))
    with h5py.File(path) as file:
        np.testing.assert_allclose(file["coords"][:], tiles.coords * 0.25)
        assert file["feats"].dtype == np.float16
        assert dict(file.attrs)["unit"] == "um" and file.attrs["tile_size_um"] == 128.0
        assert file.attrs["tile_size_px"] == 256 and file.attrs["extractor"] == "uni"


def test_a_foreign_stamp_file_gets_its_grid_with_and_without_the_slides_resolution(tmp_path: Path) -> None:
    grid = np.array([[0, 0], [0, 1], [2, 1], [3, 5]])
    path = tmp_path / "s.h5"
    with h5py.File(path, "w") as file:
        file["coords"] = (grid[::-1, ::-1] * 256.0).astype(np.float32)
        file["feats"] = np.arange(4, dtype=np.float16)[:, None]
        file.attrs.update(extractor="ctranspath", unit="um", tile_size_um=256.0, tile_size_px=224)
    read = read_features(path)
    np.testing.assert_array_equal(read.tiles.grid, grid)
    np.testing.assert_array_equal(read.features[:, 0], [3, 2, 1, 0])
    assert read.tiles.geometry.lattice.step_level0 == 224
    ours = convert_file(path, tmp_path / "out", ConvertOptions("wsi2dmamba", slide_mpp=0.25))
    geometry = read_features(ours).tiles.geometry
    assert (geometry.lattice.step_level0, geometry.slide_mpp) == (1024, 0.25)


def test_an_atlaspatch_file_with_several_encoders_asks_which(tmp_path: Path) -> None:
    coords = np.array([[0, 0, 512, 512, 0], [512, 0, 512, 512, 0], [0, 512, 512, 512, 0]], dtype=np.int32)
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["coords"] = coords
        file["features/uni_v1"] = np.zeros((3, 4), np.float32)
        file["features/resnet50"] = np.ones((3, 2), np.float32)
        file.attrs.update(patch_size=256, patch_size_level0=512, level0_magnification=40, target_magnification=20)
    with pytest.raises(StoreError, match="resnet50, uni_v1"):
        read_features(tmp_path / "s.h5")
    read = read_features(tmp_path / "s.h5", encoder="resnet50")
    assert read.features.shape == (3, 2) and read.tiles.geometry.mpp == 0.5
    assert read.tiles.geometry.lattice.shape == (2, 2)


def test_an_atlaspatch_file_comes_back_with_its_passports_and_every_encoder(tmp_path: Path) -> None:
    coords = np.array([[0, 512, 512, 512, 0], [512, 0, 512, 512, 0], [0, 0, 512, 512, 0]], dtype=np.int32)
    rng = np.random.default_rng(0)
    with h5py.File(tmp_path / "s.h5", "w") as file:
        for name, values in (("coords", coords), *((f"features/{n}", rng.random((3, 4), np.float32)) for n in "ab")):
            file.create_dataset(name, data=values, chunks=True, maxshape=(None, values.shape[1]))
        file["passports/a"] = '{"revision": "1"}'
        file["passports/names"] = np.array(["x", "y"], dtype=h5py.string_dtype())
        file.create_group("empty").attrs["note"] = "kept"
        file["features/b"].attrs["model"] = "b"
        file.attrs.update(patch_size=256, patch_size_level0=512, level0_magnification=40, target_magnification=20)
    ours = convert_file(tmp_path / "s.h5", tmp_path / "ours", ConvertOptions("wsi2dmamba", encoder="a"))
    back = convert_file(ours, tmp_path / "back", ConvertOptions("atlaspatch"))
    one, other = contents(tmp_path / "s.h5"), contents(back)
    for name in [name for name in other if name.split("/")[0] == "wsi2dmamba"]:
        del other[name]
    assert one == other


def test_contours_with_grids_of_their_own_are_put_on_one_lattice(tmp_path: Path) -> None:
    coords = contours((37, 11), (200, 90), (5, 250))
    features = clam_file(tmp_path / "s.h5", coords)
    read = read_features(tmp_path / "s.h5")
    assert len(read) == len(coords)
    np.testing.assert_array_equal(np.sort(read.features, axis=0), np.sort(features, axis=0))
    assert len(np.unique(read.tiles.grid, axis=0)) == len(coords)
    assert '"moved": 32' in read.tiles.settings
    ours = convert_file(tmp_path / "s.h5", tmp_path / "ours", ConvertOptions("wsi2dmamba"))
    back = convert_file(ours, tmp_path / "back", ConvertOptions("clam"))
    assert contents(back) == contents(tmp_path / "s.h5")


def test_patches_that_share_a_cell_are_counted_and_refused(tmp_path: Path) -> None:
    coords = np.concatenate([contours((0, 0)), [[20, 30], [256 + 20, 30]]])
    features = clam_file(tmp_path / "s.h5", coords)
    with pytest.raises(LatticeError, match=r"2 of 18 patches share a cell.*--on-collision"):
        read_features(tmp_path / "s.h5")
    first = read_features(tmp_path / "s.h5", on_collision="first")
    mean = read_features(tmp_path / "s.h5", on_collision="mean")
    assert len(first) == len(mean) == 16
    np.testing.assert_array_equal(first.features[0], features[0])
    np.testing.assert_allclose(mean.features[0], (features[0] + features[16]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(first.features[2:], mean.features[2:])


def test_a_converted_clam_file_keeps_exact_places_for_another_tool(tmp_path: Path) -> None:
    coords = contours((37, 11), (200, 90))
    clam_file(tmp_path / "s.h5", coords)
    options = ConvertOptions("trident", slide_mpp=0.5)
    ours = convert_file(tmp_path / "s.h5", tmp_path / "ours", ConvertOptions("wsi2dmamba", slide_mpp=0.5))
    trident = convert_file(ours, tmp_path / "trident", options)
    with h5py.File(trident) as file:
        assert sorted(map(tuple, file["coords"][:])) == sorted(map(tuple, coords))
        assert file["coords"].attrs["level0_magnification"] == 20
    with pytest.raises(StoreError, match="--slide-mpp"):
        convert_file(tmp_path / "s.h5", tmp_path / "none", ConvertOptions("trident"))


@given(
    step=st.integers(2, 600),
    phase=st.tuples(st.integers(0, 5000), st.integers(0, 5000)),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_a_regular_grid_is_found_whatever_its_step_origin_and_order(
    step: int, phase: tuple[int, int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    grid = irregular_grid(rng, 6, 8)
    coords = rng.permutation(grid[:, ::-1] * step + np.array(phase))
    assert infer_step(coords) == step
    snapped = snap(coords, step)
    assert snapped.moved == 0
    np.testing.assert_array_equal(snapped.lattice.corners(snapped.grid), coords)
    assert snapped.grid.min() == 0


def test_overlapping_patches_have_the_step_of_their_neighbours_not_their_size(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["coords"] = contours((0, 0), step=384)
        file["features"] = np.zeros((16, 2), np.float32)
        file["coords"].attrs.update(
            patch_size=256, patch_size_level0=512.0, level0_magnification=40, target_magnification=20, overlap=64
        )
    geometry = read_features(tmp_path / "s.h5").tiles.geometry
    assert (geometry.lattice.step_level0, geometry.patch_size_level0, geometry.overlap_px) == (384, 512, 64)


@pytest.mark.parametrize("command", ["convert", "inspect", "verify"])
def test_unknown_and_damaged_files_are_one_line(command: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "strange.h5", "w") as file:
        file["something"] = np.zeros(3)
    (tmp_path / "cut.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 40)
    for name in ("strange.h5", "cut.h5"):
        options = ["--out", str(tmp_path / "out")] if command == "convert" else []
        result = CliRunner().invoke(app, [command, str(tmp_path / name), *options])
        assert result.exit_code in (1, 2) or result.exception is not None
        assert not isinstance(result.exception, (KeyError, OSError, AttributeError))
