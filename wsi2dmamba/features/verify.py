"""`wsi2dmamba verify`: is every file of a folder whole, and does it keep the contract?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from wsi2dmamba.core.errors import InputError, WSI2DMambaError
from wsi2dmamba.core.files import PARTIAL_MARK
from wsi2dmamba.features.foreign.reading import read_foreign
from wsi2dmamba.features.foreign.source import GROUP
from wsi2dmamba.features.store import is_foreign
from wsi2dmamba.slides.lattice import row_major_order
from wsi2dmamba.slides.tilefile import TileFile, open_finished, read_tile_datasets

_ROWS_AT_A_TIME = 16384


@dataclass(frozen=True)
class Verdict:
    """What is known of one file after reading all of it.

    Attributes
    ----------
    path
        The file.
    patches, dim
        Rows, and numbers per row (0 in a tile file).
    problems
        What is wrong, one short sentence each; empty when the file is sound.
    """

    path: Path
    patches: int
    dim: int
    problems: tuple[str, ...]


def verify_folder(folder: Path) -> Iterator[Verdict]:
    """Read every ``.h5`` file below `folder` and yield what is wrong with it.

    Raises
    ------
    InputError
        If there is no such folder, or no such file in it.
    """
    if folder.is_file():
        yield verify_file(folder)
        return
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist")
    paths = sorted(folder.rglob("*.h5"))
    if not paths:
        raise InputError(f"{folder} holds no .h5 files")
    for path in paths:
        if PARTIAL_MARK in path.name:
            yield Verdict(path, 0, 0, ("left half-written by a process that was killed; delete it",))
        else:
            yield verify_file(path)


def verify_file(path: Path) -> Verdict:
    """Check structure, counts, lattice, order, bounds, features and the mark of completeness of one file."""
    try:
        if is_foreign(path):
            table = read_foreign(path)
            dim = 0 if table.features is None else table.features.shape[1]
            bad = 0 if table.features is None else int((~np.isfinite(table.features)).any(axis=1).sum())
            return Verdict(path, len(table.tiles), dim, (f"{bad} features are not finite",) if bad else ())
        with open_finished(path) as file:
            tiles = read_tile_datasets(file, path)
            problems = [*_tile_problems(tiles, converted=GROUP in file)]
            dim = 0
            if "features" in file:
                dim = int(file["features"].shape[1])
                problems += _feature_problems(file, len(tiles))
            return Verdict(path, len(tiles), dim, tuple(problems))
    except (WSI2DMambaError, OSError) as error:
        return Verdict(path, 0, 0, (" ".join(str(error).split()),))


def _tile_problems(tiles: TileFile, converted: bool) -> Iterator[str]:
    geometry, lattice = tiles.geometry, tiles.geometry.lattice
    if not len(tiles):
        return
    wrong = int((lattice.corners(tiles.grid) != tiles.coords).any(axis=1).sum())
    if wrong:
        yield f"{wrong} coordinates are not where their cell says"
    if not lattice.contains(tiles.grid):
        yield f"cells outside the grid of {lattice.shape[0]} × {lattice.shape[1]}"
    shared = len(tiles) - len(np.unique(tiles.grid, axis=0))
    if shared:
        yield f"{shared} patches share a cell"
    elif (row_major_order(tiles.grid) != np.arange(len(tiles))).any():
        yield "patches are not in row-major order"
    outside = ((tiles.coords < 0) | (tiles.coords >= np.asarray(geometry.level0_size))).any(axis=1)
    if outside.any() and not converted:  # patches that were moved onto a lattice may stick out a little
        yield f"{int(outside.sum())} patches lie outside the slide"
    if not converted and not np.isfinite(tiles.tissue).all():
        yield "tissue fractions are not finite"


def _feature_problems(file: h5py.File, patches: int) -> Iterator[str]:
    features = file["features"]
    if len(features) != patches:
        yield f"{len(features)} features for {patches} patches"
    bad = 0
    for start in range(0, len(features), _ROWS_AT_A_TIME):
        bad += int((~np.isfinite(features[start : start + _ROWS_AT_A_TIME])).any(axis=1).sum())
    if bad:
        yield f"{bad} features are not finite"
    for name in ("encoder", "encoder_revision"):
        if name not in file.attrs:
            yield f"the attribute {name} is missing"
