"""Which kind of tissue lies in which cell of a slide: the same counts, arranged in one way or the other.

A slide is a star-shaped piece of tissue on a square lattice: a band of stroma outside, a tumour inside, and in the
tumour a number of cells full of lymphocytes. They lie in the tumour's rim ("excluded") or all over it ("inflamed"),
or partly so: `mixing` is the share of them that is spread.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from wsi2dmamba.demo.tiles import ROLES

GLASS = -1
"""What a cell without tissue holds; others hold an index into `ROLES`."""

_TUMOUR, _INFILTRATE, _STROMA, _FAT, _NECROSIS = range(len(ROLES))


@dataclass(frozen=True)
class Composition:
    """How many cells of each kind a slide has.

    Attributes
    ----------
    tumour, stroma, infiltrate, fat, necrosis
        Numbers of lattice cells.
    """

    tumour: int
    stroma: int
    infiltrate: int
    fat: int = 0
    necrosis: int = 0

    @property
    def interior(self) -> int:
        """Cells inside the outer band."""
        return self.tumour + self.infiltrate + self.necrosis

    @property
    def total(self) -> int:
        """Cells with tissue."""
        return self.interior + self.stroma + self.fat

    def counts(self) -> dict[str, int]:
        """Return the number of cells of every role."""
        return {role: int(getattr(self, role)) for role in ROLES}


def random_composition(rng: np.random.Generator, side: int, roles: tuple[str, ...]) -> Composition:
    """Return a composition that fits on a lattice of `side` x `side` cells, using only `roles`."""
    room = (side - 2) ** 2
    total = int(room * rng.uniform(0.58, 0.74))
    interior = int(total * rng.uniform(0.46, 0.52))
    infiltrate = int(interior * rng.uniform(0.34, 0.4))
    necrosis = int(rng.integers(0, 1 + interior // 16)) if "necrosis" in roles else 0
    fat = int(rng.integers(0, 1 + (total - interior) // 10)) if "fat" in roles else 0
    return Composition(
        tumour=interior - infiltrate - necrosis,
        stroma=total - interior - fat,
        infiltrate=infiltrate,
        fat=fat,
        necrosis=necrosis,
    )


def arrange(composition: Composition, side: int, mixing: float, rng: np.random.Generator) -> NDArray[np.int8]:
    """Lay a composition out.

    Parameters
    ----------
    composition
        Cells of each kind; kept exactly.
    side
        Cells along each side of the slide; the outermost ones stay glass.
    mixing
        Share of the infiltrate that is spread over the tumour instead of lying in its rim, 0 to 1.
    rng
        Where the shape and the places come from.

    Returns
    -------
    ndarray
        (side, side) int8, an index into `ROLES` or `GLASS`.
    """
    inside = _piece_of_tissue(composition.total, side, rng)
    layout = np.where(inside, np.int8(_STROMA), np.int8(GLASS)).astype(np.int8)
    interior = _first(_by_depth(inside, rng), composition.interior)
    core = np.zeros_like(inside)
    core[interior] = True
    layout[core] = _TUMOUR
    center = _by_depth(core, rng)
    layout[_first(center, composition.necrosis)] = _NECROSIS
    rim = center[composition.necrosis :][::-1]
    spread = round(mixing * composition.infiltrate)
    in_rim = composition.infiltrate - spread
    layout[_rows(rim[:in_rim])] = _INFILTRATE
    layout[_apart(rng.permutation(rim[in_rim:]), spread, side)] = _INFILTRATE
    layout[_first(_band_order(inside, core, rng), composition.fat)] = _FAT
    return layout


def _piece_of_tissue(cells: int, side: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return (side, side) bool with exactly `cells` true: those nearest to the center of a wavering ellipse."""
    middle = (side - 1) / 2
    row, column = np.mgrid[0:side, 0:side] - middle
    turn = rng.uniform(0, np.pi)
    stretch = rng.uniform(0.8, 1.25)
    u = (row * np.cos(turn) + column * np.sin(turn)) * stretch
    v = (column * np.cos(turn) - row * np.sin(turn)) / stretch
    angle = np.arctan2(v, u)
    edge = 1 + sum(rng.normal(0, 0.16 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in (2, 3, 4, 5))
    score = np.hypot(u, v) / edge + rng.uniform(0, 0.3, u.shape)
    score[np.maximum(abs(row), abs(column)) > middle - 0.5] = np.inf
    inside = np.zeros(side * side, dtype=bool)
    inside[np.argsort(score, axis=None)[:cells]] = True
    return inside.reshape(side, side)


def _by_depth(mask: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the (n, 2) cells of `mask`, the deepest first, ties in random order."""
    cells = np.argwhere(mask)
    depth = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1][mask]
    return cells[np.lexsort((rng.random(len(cells)), -depth))]


def _band_order(inside: NDArray[np.bool_], core: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the (n, 2) cells of the outer band: those that touch no glass first, then by direction from the center."""
    band = inside & ~core
    cells = np.argwhere(band)
    at_edge = distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1][band] < 1.4
    row, column = (cells - (np.array(inside.shape) - 1) / 2).T
    direction = (np.arctan2(column, row) + rng.uniform(0, 2 * np.pi)) % (2 * np.pi)
    return cells[np.lexsort((direction, at_edge))]


def _apart(cells: NDArray[np.int64], count: int, side: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return `count` of `cells`, one after the other where the fewest of the four neighbours are taken yet."""
    taken = np.zeros((side + 2, side + 2), dtype=np.int64)
    row, column = cells[:, 0] + 1, cells[:, 1] + 1
    free = np.ones(len(cells), dtype=bool)
    for _ in range(count):
        crowded = taken[row - 1, column] + taken[row + 1, column] + taken[row, column - 1] + taken[row, column + 1]
        chosen = int(np.argmin(np.where(free, crowded, 9)))
        free[chosen] = False
        taken[row[chosen], column[chosen]] = 1
    return _rows(cells[~free])


def _first(cells: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return _rows(cells[:count])


def _rows(cells: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    return cells[:, 0], cells[:, 1]
