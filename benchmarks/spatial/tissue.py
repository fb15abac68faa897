"""Tissue to draw on: irregular outlines and kinds of patches in them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Kinds = NDArray[np.int64]
"""A raster of kinds of tissue; -1 where there is none."""

KIND_COUNT = 5
STROMA, TUMOUR, LYMPHOCYTE, FAT, NECROSIS = range(KIND_COUNT)


def tissue(rng: np.random.Generator, side: int) -> Kinds:
    """Return stroma with a tenth of fat on an irregular outline, on a side × side raster."""
    middle = (side - 1) / 2
    kinds = np.where(rng.random((side, side)) < 0.1, FAT, STROMA)
    return np.where(blob(rng, side, middle, middle, 0.46 * side), kinds, -1)


def blob(rng: np.random.Generator, side: int, row: float, col: float, radius: float) -> NDArray[np.bool_]:
    """Return an irregular disc: its radius varies by a quarter with the angle."""
    y, x = np.mgrid[:side, :side]
    angle = np.arctan2(y - row, x - col)
    waves = sum(np.cos((k + 1) * angle + rng.uniform(0, 2 * np.pi)) / (k + 1) for k in range(3))
    inside: NDArray[np.bool_] = away_from(side, row, col) < radius * (1 + 0.14 * waves)
    return inside


def away_from(side: int, row: float, col: float) -> NDArray[np.float64]:
    """Return the distance of every cell of a side × side raster from a point, in cells."""
    y, x = np.mgrid[:side, :side]
    away: NDArray[np.float64] = np.hypot(y - row, x - col)
    return away


def place(rng: np.random.Generator, kinds: Kinds, where: NDArray[np.bool_], count: int, kind: int) -> Kinds:
    """Return the raster with `count` random tissue cells of `where` turned into `kind`."""
    cells = np.argwhere(where & (kinds >= 0))
    chosen = cells[rng.permutation(len(cells))[:count]]
    kinds = kinds.copy()
    kinds[chosen[:, 0], chosen[:, 1]] = kind
    return kinds


def share(kinds: Kinds, part: float) -> int:
    """Return how many cells a part of the tissue is."""
    return round(part * int((kinds >= 0).sum()))
