"""Patches and features in the layout of another tool."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from wsi2dmamba import __version__
from wsi2dmamba.core.errors import StoreError
from wsi2dmamba.core.hdf5 import new_hdf5
from wsi2dmamba.features.foreign.contents import Attributes
from wsi2dmamba.features.foreign.formats import OURS_GROUP
from wsi2dmamba.features.foreign.source import Source
from wsi2dmamba.slides.tilefile import TileFile, trident_attributes, write_tile_datasets

_CHUNK_ROWS = 256


def write_foreign(
    path: Path,
    kind: str,
    tiles: TileFile,
    features: NDArray[np.floating] | None,
    encoder: str,
    revision: str = "",
    extraction: str = "{}",
    source: Source | None = None,
) -> None:
    """Write patches (and features) as `kind` does, whole or not at all.

    A file that came from the same tool is restored as it was, coordinates, order and attributes. Any other gets the
    tool's layout plus a group ``wsi2dmamba`` with grid, tissue fraction and settings, so that the way back is exact.

    Raises
    ------
    StoreError
        If the format needs a resolution that is not known.
    """
    with new_hdf5(path) as file:
        if source is not None and source.format == kind:
            _restore(file, features, source)
            return
        if len(tiles) and kind in ("trident", "stamp", "atlaspatch") and math.isnan(tiles.geometry.slide_mpp):
            raise StoreError(f"{path}: {kind} files need the slide's µm per pixel; give --slide-mpp")
        writers = {"clam": _clam, "trident": _trident, "stamp": _stamp, "atlaspatch": _atlaspatch}
        writers[kind](file, tiles, true_coords(tiles, source), features, encoder)
        if source is None:
            _remember(file, tiles, features, encoder, revision, extraction)


def true_coords(tiles: TileFile, source: Source | None) -> NDArray[np.int64]:
    """Return where the patches were read: a snapped file's lattice corners are near, its source's are exact."""
    if source is None or source.format == "stamp":
        return tiles.coords
    exact = np.empty_like(tiles.coords)
    exact[source.row] = source.coords[:, :2]
    return exact


def _restore(file: h5py.File, features: NDArray[np.floating] | None, source: Source) -> None:
    _dataset(file, "coords", source.coords)
    if features is not None:
        _dataset(file, source.feature_path, features[source.row])
    for name, values in source.others.items():
        file.create_dataset(name, data=values, dtype=values.dtype)
    _set_attributes(file, source.attributes)


def _clam(
    file: h5py.File, tiles: TileFile, coords: NDArray[np.int64], features: NDArray[np.floating] | None, encoder: str
) -> None:
    if features is not None:
        _dataset(file, "features", features.astype(np.float32))
        _dataset(file, "coords", coords.astype(np.int32))
        return
    geometry = tiles.geometry
    level0 = np.asarray(geometry.level0_size, dtype=np.int64)
    attributes: dict[str, Any] = {
        "patch_size": np.int64(geometry.patch_size_level0),
        "patch_level": np.int64(0),
        "downsample": np.ones(2),
        "downsampled_level_dim": level0,
        "level_dim": level0,
        "name": geometry.slide_id,
        "save_path": "",
    }
    _dataset(file, "coords", coords)
    _set_attributes(file, {"coords": attributes})


def _trident(
    file: h5py.File, tiles: TileFile, coords: NDArray[np.int64], features: NDArray[np.floating] | None, encoder: str
) -> None:
    _dataset(file, "coords", coords)
    attributes: Attributes = {"coords": {**trident_attributes(tiles.geometry), "savetodir": ""}}
    if features is not None:
        _dataset(file, "features", features)
        attributes["features"] = {"encoder": encoder, "name": tiles.geometry.slide_id, "savetodir": ""}
    _set_attributes(file, attributes)


def _stamp(
    file: h5py.File, tiles: TileFile, coords: NDArray[np.int64], features: NDArray[np.floating] | None, encoder: str
) -> None:
    geometry = tiles.geometry
    _dataset(file, "coords", (coords * geometry.slide_mpp).astype(np.float32))
    if features is not None:
        _dataset(file, "feats", features)
    attributes = {
        "extractor": encoder,
        "feat_type": "tile",
        "tile_size_px": geometry.patch_px,
        "tile_size_um": geometry.patch_size_level0 * geometry.slide_mpp,
        "unit": "um",
    }
    _set_attributes(file, {"": attributes})


def _atlaspatch(
    file: h5py.File, tiles: TileFile, coords: NDArray[np.int64], features: NDArray[np.floating] | None, encoder: str
) -> None:
    geometry = tiles.geometry
    size = geometry.patch_size_level0
    reads = np.tile(np.array([size, size, 0]), (len(coords), 1))
    _dataset(file, "coords", np.concatenate([coords, reads], axis=1).astype(np.int32))
    if features is not None:
        _dataset(file, f"features/{encoder}", features.astype(np.float32))
    trident = trident_attributes(geometry)
    attributes = {name: value for name, value in trident.items() if name != "name"}
    _set_attributes(file, {"": {**attributes, "num_patches": len(coords), "wsi_path": ""}})


def _remember(
    file: h5py.File,
    tiles: TileFile,
    features: NDArray[np.floating] | None,
    encoder: str,
    revision: str,
    extraction: str,
) -> None:
    group = file.create_group(OURS_GROUP)
    write_tile_datasets(group, tiles)
    group.attrs.update(encoder=encoder, encoder_revision=revision, extraction=extraction, written_by=__version__)
    if features is not None:
        group.attrs["feature_dtype"] = str(features.dtype)


def _dataset(file: h5py.File, name: str, values: NDArray[Any]) -> None:
    rows = max(min(_CHUNK_ROWS, len(values)), 1)
    file.create_dataset(name, data=values, chunks=(rows, values.shape[1]), maxshape=(None, values.shape[1]))


def _set_attributes(file: h5py.File, attributes: Attributes) -> None:
    for name, values in attributes.items():
        place = file if not name else file[name] if name in file else file.create_group(name)
        place.attrs.update(values)
