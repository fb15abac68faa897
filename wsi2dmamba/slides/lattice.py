"""One integer lattice per slide: the contract between tiles, features, models and heatmaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.core.errors import LatticeError

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Lattice:
    """Where patch (row, col) lies: its top-left corner is origin + (col, row) · step, in level-0 pixels.

    Attributes
    ----------
    origin
        (x0, y0) of cell (0, 0), level-0 pixels.
    step_level0
        Distance between neighbouring patches, level-0 pixels, an integer for the whole slide.
    shape
        (rows, cols) of the grid's bounding box.
    """

    origin: tuple[int, int]
    step_level0: int
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        if self.step_level0 < 1:
            raise LatticeError(f"a lattice needs a step of at least 1 level-0 pixel, not {self.step_level0}")

    def corners(self, grid: NDArray[np.integer]) -> IntArray:
        """Return the (N, 2) int64 level-0 (x, y) corners of `grid`, an (N, 2) array of (row, col)."""
        rows_cols = np.asarray(grid, dtype=np.int64).reshape(-1, 2)
        return np.asarray(self.origin, dtype=np.int64) + rows_cols[:, ::-1] * self.step_level0

    def cells(self, coords: NDArray[np.integer]) -> IntArray:
        """Return the (N, 2) int64 (row, col) of level-0 corners `coords`, an (N, 2) array of (x, y).

        Raises
        ------
        LatticeError
            If a corner does not lie on this lattice.
        """
        offset = np.asarray(coords, dtype=np.int64).reshape(-1, 2) - np.asarray(self.origin, dtype=np.int64)
        off_lattice = (offset % self.step_level0 != 0).any(axis=1)
        if off_lattice.any():
            x, y = np.asarray(coords)[np.flatnonzero(off_lattice)[0]]
            raise LatticeError(
                f"{int(off_lattice.sum())} of {len(offset)} coordinates, the first at ({x}, {y}), do not lie on "
                f"the lattice with origin {self.origin} and step {self.step_level0}"
            )
        return offset[:, ::-1] // self.step_level0

    def contains(self, grid: NDArray[np.integer]) -> bool:
        """Tell whether every (row, col) of `grid` lies inside `shape`."""
        cells = np.asarray(grid).reshape(-1, 2)
        return bool(((cells >= 0) & (cells < np.asarray(self.shape))).all())


def row_major_order(grid: NDArray[np.integer]) -> IntArray:
    """Return the (N,) order that sorts (row, col) cells row by row."""
    cells = np.asarray(grid)
    return np.lexsort((cells[:, 1], cells[:, 0])).astype(np.int64)
