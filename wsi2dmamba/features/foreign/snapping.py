"""From the coordinates of other tools to cells of one lattice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.core.errors import LatticeError
from wsi2dmamba.slides.lattice import Lattice

COLLISION_RULES = ("error", "mean", "first")


@dataclass(frozen=True)
class Snapped:
    """Patches on one lattice.

    Attributes
    ----------
    grid
        (N, 2) int64 (row, col) of every patch, in the order given.
    lattice
        The lattice they lie on.
    moved
        How many patches lie beside their cell's corner, as those of CLAM's second and later contours do.
    """

    grid: NDArray[np.int64]
    lattice: Lattice
    moved: int


def infer_step(coords: NDArray[np.number]) -> int | None:
    """Return the most frequent distance between neighbours in a row or column, or None when there are none.

    Parameters
    ----------
    coords
        (N, 2) level-0 (x, y). The patch size is not the step: with overlap it is larger, and the `patch_size` of
        CLAM and TRIDENT is in pixels of another level.
    """
    gaps = []
    for axis in (0, 1):
        order = np.lexsort((coords[:, axis], coords[:, 1 - axis]))
        sorted_coords = coords[order]
        same_line = np.diff(sorted_coords[:, 1 - axis]) == 0
        gap = np.diff(sorted_coords[:, axis])[same_line]
        gaps.append(gap[gap > 0])
    values, counts = np.unique(np.rint(np.concatenate(gaps)).astype(np.int64), return_counts=True)
    return int(values[counts.argmax()]) if len(values) else None


def snap(coords: NDArray[np.number], step_level0: int) -> Snapped:
    """Put patches on one lattice of the given step: each goes to the nearest cell.

    CLAM starts its grid anew at every contour, so its patches lie on several shifted lattices. The one that most
    patches lie on is taken; the others move by less than half a step, each contour as a whole.

    Parameters
    ----------
    coords
        (N, 2) level-0 (x, y).
    step_level0
        Distance of neighbours, level-0 pixels.
    """
    if not len(coords):
        return Snapped(np.empty((0, 2), np.int64), Lattice((0, 0), step_level0, (0, 0)), 0)
    whole = np.rint(coords).astype(np.int64)
    phases, counts = np.unique(whole % step_level0, axis=0, return_counts=True)
    phase = phases[counts.argmax()]
    columns_rows = np.floor((np.asarray(coords, dtype=np.float64) - phase) / step_level0 + 0.5).astype(np.int64)
    first = columns_rows.min(0)
    grid = (columns_rows - first)[:, ::-1]
    origin = phase + first * step_level0
    shape = grid.max(0) + 1
    lattice = Lattice((int(origin[0]), int(origin[1])), step_level0, (int(shape[0]), int(shape[1])))
    moved = int((lattice.corners(grid) != whole).any(1).sum())
    return Snapped(grid, lattice, moved)


@dataclass(frozen=True)
class Cells:
    """Which rows of a file go to which cell.

    Attributes
    ----------
    order
        (M,) the first row of every cell, cells in row-major order.
    group
        (N,) the cell (an index into `order`) of every row.
    collisions
        How many rows share a cell with an earlier one.
    """

    order: NDArray[np.int64]
    group: NDArray[np.int64]
    collisions: int


def resolve_collisions(grid: NDArray[np.int64], rule: str, where: str) -> Cells:
    """Find the row-major order of the cells, and what to do where several patches share one.

    Raises
    ------
    LatticeError
        With rule ``error``, when two patches share a cell: feature maps of such a file would silently lose patches.
    """
    if rule not in COLLISION_RULES:
        raise LatticeError(f"unknown collision rule {rule!r}; choose from {', '.join(COLLISION_RULES)}")
    _, order, group = np.unique(grid, axis=0, return_index=True, return_inverse=True)
    collisions = len(grid) - len(order)
    if collisions and rule == "error":
        raise LatticeError(
            f"{where}: {collisions} of {len(grid)} patches share a cell of the lattice with another one; "
            "give --on-collision mean or first"
        )
    return Cells(order.astype(np.int64), group.reshape(-1).astype(np.int64), collisions)


def merge(features: NDArray[np.floating], cells: Cells, rule: str) -> NDArray[np.floating]:
    """Return one row per cell: the first one, or with rule ``mean`` the average (same dtype) of all."""
    if rule != "mean" or not cells.collisions:
        return features[cells.order]
    total = np.zeros((len(cells.order), features.shape[1]), dtype=np.float64)
    np.add.at(total, cells.group, features)
    return (total / np.bincount(cells.group)[:, None]).astype(features.dtype)
