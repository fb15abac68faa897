"""The feature file `features/<encoder>/<slide_id>.h5`: a tile file plus `features`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.core.errors import StoreError
from wsi2dmamba.core.hdf5 import new_hdf5
from wsi2dmamba.features.foreign.formats import detect_format
from wsi2dmamba.features.foreign.reading import read_foreign
from wsi2dmamba.features.foreign.source import Source, read_source, write_source
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
    source
        What a file converted from another tool keeps of it; None for our own.
    """

    features: NDArray[np.floating]
    tiles: TileFile
    encoder: str
    encoder_revision: str
    extraction: str = "{}"
    source: Source | None = None

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
    with new_hdf5(path) as file:
        write_tile_datasets(file, features.tiles)
        chunks = (max(min(CHUNK_ROWS * 4, len(matrix)), CHUNK_ROWS), matrix.shape[1])
        dataset = file.create_dataset("features", data=matrix, chunks=chunks, maxshape=(None, matrix.shape[1]))
        dataset.flush()
        dataset.attrs.update(name=features.tiles.geometry.slide_id, encoder=features.encoder)
        file.attrs.update(
            encoder=features.encoder, encoder_revision=features.encoder_revision, extraction=features.extraction
        )
        if features.source is not None:
            write_source(file, features.source)
        mark_complete(file)


def read_features(path: Path, on_collision: str = "error", encoder: str | None = None) -> FeatureFile:
    """Read a finished feature file, ours or one of CLAM, TRIDENT, STAMP or AtlasPatch.

    Parameters
    ----------
    path
        The file.
    on_collision
        For files of other tools: what to do when two patches share a cell of the lattice: ``error``, ``mean``
        (of their features) or ``first``.
    encoder
        For AtlasPatch files with features of several encoders: which.

    Raises
    ------
    StoreError
        If it is missing, cut short, unfinished, of no known schema, or holds no features.
    LatticeError
        If patches share a cell and `on_collision` is ``error``.
    """
    if is_foreign(path):
        return _read_foreign_features(path, on_collision, encoder)
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
        encoder, revision, extraction = (
            str(file.attrs.get(name, "")) for name in ("encoder", "encoder_revision", "extraction")
        )
        return FeatureFile(matrix, tiles, encoder, revision, extraction, read_source(file))


def is_foreign(path: Path) -> bool:
    """Tell whether `path` is a whole file of another tool that can be read here."""
    try:
        with h5py.File(path, "r") as file:
            return detect_format(file) not in (None, "wsi2dmamba")
    except OSError:
        return False


def _read_foreign_features(path: Path, on_collision: str, encoder: str | None) -> FeatureFile:
    table = read_foreign(path, on_collision, encoder=encoder)
    if table.features is None:
        raise StoreError(f"{path} holds patches but no features")
    return FeatureFile(table.features, table.tiles, table.encoder, table.revision, table.extraction, table.source)
