from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.fabricate import irregular_grid, tile_file
from wsi2dmamba.core.errors import StoreError
from wsi2dmamba.features.store import FeatureFile, read_features, write_features


@pytest.fixture
def feature_file() -> FeatureFile:
    rng = np.random.default_rng(0)
    tiles = tile_file("slide (1).é", irregular_grid(rng, 7, 9))
    return FeatureFile(rng.standard_normal((len(tiles), 12)).astype(np.float16), tiles, "texture", "1")


def test_a_file_reads_back_as_it_was_written(tmp_path: Path, feature_file: FeatureFile) -> None:
    path = tmp_path / "a.h5"
    write_features(path, feature_file)
    again = read_features(path)
    np.testing.assert_array_equal(again.features, feature_file.features)
    np.testing.assert_array_equal(again.tiles.coords, feature_file.tiles.coords)
    np.testing.assert_array_equal(again.tiles.grid, feature_file.tiles.grid)
    assert again.tiles.geometry == feature_file.tiles.geometry
    assert (again.encoder, again.encoder_revision) == ("texture", "1")


def test_the_layout_is_the_contract(tmp_path: Path, feature_file: FeatureFile) -> None:
    path = tmp_path / "a.h5"
    write_features(path, feature_file)
    with h5py.File(path) as file:
        assert {name: (file[name].dtype.name, file[name].ndim) for name in file} == {
            "coords": ("int64", 2),
            "grid": ("int32", 2),
            "tissue": ("float32", 1),
            "features": ("float16", 2),
        }
        assert file["features"].chunks[0] >= 256
        assert set(file["coords"].attrs) == {
            *("patch_size", "patch_size_level0", "level0_magnification", "target_magnification"),
            *("overlap", "name", "level0_width", "level0_height"),
        }
        assert file["coords"].attrs["level0_magnification"] == 40
        wanted = "schema slide_mpp mpp step_level0 origin grid_shape encoder encoder_revision created_by complete"
        assert set(wanted.split()) <= set(file.attrs)


def test_two_writes_are_byte_identical(tmp_path: Path, feature_file: FeatureFile) -> None:
    for name in ("a.h5", "b.h5"):
        write_features(tmp_path / name, feature_file)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


@pytest.mark.parametrize("kept", [0, 100, 0.5, 0.99])
def test_a_truncated_file_is_refused_in_one_line(tmp_path: Path, feature_file: FeatureFile, kept: float) -> None:
    path = tmp_path / "a.h5"
    write_features(path, feature_file)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole)) if isinstance(kept, float) else kept])
    with pytest.raises(StoreError, match="not a whole HDF5 file"):
        read_features(path)


def test_an_unfinished_file_is_never_read(tmp_path: Path, feature_file: FeatureFile) -> None:
    path = tmp_path / "a.h5"
    write_features(path, feature_file)
    with h5py.File(path, "a") as file:
        del file.attrs["complete"]
    with pytest.raises(StoreError, match="never finished"):
        read_features(path)


def test_a_missing_dataset_is_named(tmp_path: Path, feature_file: FeatureFile) -> None:
    path = tmp_path / "a.h5"
    write_features(path, feature_file)
    with h5py.File(path, "a") as file:
        del file["grid"]
    with pytest.raises(StoreError, match="grid"):
        read_features(path)


def test_features_and_patches_must_agree(tmp_path: Path, feature_file: FeatureFile) -> None:
    short = FeatureFile(feature_file.features[1:], feature_file.tiles, "texture", "1")
    with pytest.raises(StoreError, match="features of shape"):
        write_features(tmp_path / "a.h5", short)
    assert not any(tmp_path.iterdir())
