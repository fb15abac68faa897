"""The feature file `features/<encoder>/<slide_id>.h5`: a tile file plus `features`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.core.errors import StoreError
from wsi2dmamba.core.files import atomic_path
from wsi2dmamba.slides.tilefile import (
    TileFile,
    mark_complete,
    open_finished,
    read_tile_datasets,
    write_tile_datasets,
)

# Rows per chunk: chunks of one row, as CLAM writes them, cost ten times in read time.
CHUNK_ROWS = 256


@dataclass(frozen=True)
class FeatureFile:
    """The patch features of one slide.

    Attributes
    ----------
    features
        (N, D) float16 or float32, in the order of `tiles`.
    tiles
        Where the patches lie.
    encoder, encoder_revision
        What made them: name and exact weights.
    extraction
        JSON of the other settings that made them: a rerun with others is noticed.
    """

    features: NDArray[np.floating]
    tiles: TileFile
    encoder: str
    encoder_revision: str
    extraction: str = "{}"

    def __len__(self) -> int:
        return len(self.features)


def write_features(path: Path, features: FeatureFile) -> None:
    """Write `features` to `path`, whole or not at all.

    Raises
    ------
    StoreError
        If features and coordinates differ in number, or the dtype is neither float16 nor float32.
    """
    matrix = features.features
    if matrix.ndim != 2 or len(matrix) != len(features.tiles):
        raise StoreError(f"{path}: features of shape {matrix.shape} for {len(features.tiles)} patches")
    if matrix.dtype not in (np.float16, np.float32):
        raise StoreError(f"{path}: features are {matrix.dtype}; float16 or float32 is stored")
    with atomic_path(path) as partial, h5py.File(partial, "w") as file:
        write_tile_datasets(file, features.tiles)
        chunks = (max(min(CHUNK_ROWS * 4, len(matrix)), CHUNK_ROWS), matrix.shape[1])
        dataset = file.create_dataset("features", data=matrix, chunks=chunks, maxshape=(None, matrix.shape[1]))
        dataset.attrs.update(name=features.tiles.geometry.slide_id, encoder=features.encoder)
        file.attrs.update(
            encoder=features.encoder, encoder_revision=features.encoder_revision, extraction=features.extraction
        )
        mark_complete(file)


def read_features(path: Path) -> FeatureFile:
    """Read a finished feature file.

    Raises
    ------
    StoreError
        If it is missing, cut short, unfinished, of another schema, or holds no features.
    """
    with open_finished(path) as file:
        tiles = read_tile_datasets(file, path)
        if "features" not in file:
            raise StoreError(f"{path} holds patches but no features; run `wsi2dmamba extract` on it")
        try:
            matrix = file["features"][:]
        except OSError as error:
            raise StoreError(f"{path}: features cannot be read ({error}); delete the file and make it again") from error
        if len(matrix) != len(tiles):
            raise StoreError(f"{path}: {len(matrix)} features for {len(tiles)} patches; delete it and make it again")
        names = ("encoder", "encoder_revision", "extraction")
        return FeatureFile(matrix, tiles, *(str(file.attrs.get(name, "")) for name in names))
