"""The generating rules: which kinds of tissue lie where, and what label follows from it.

Every rule draws a raster of kinds (-1 where there is no tissue) and a label. But for `composition`, both labels have
the same expected composition: only arrangement tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Kinds = NDArray[np.int64]
KIND_COUNT = 5
STROMA, TUMOUR, LYMPHOCYTE, FAT, NECROSIS = range(KIND_COUNT)


@dataclass(frozen=True)
class Rule:
    """A task: how a bag is drawn for a label, on what size, and how noisy its features are.

    Attributes
    ----------
    draw
        From a generator, a side length and a label to the raster of kinds.
    side
        Smallest and largest side of the bounding box, in patches.
    noise
        Standard deviation of the features around their kind's mean, whose own is 1.
    """

    draw: Callable[[np.random.Generator, int, int], Kinds]
    side: tuple[int, int] = (16, 24)
    noise: float = 3.0


def tissue(rng: np.random.Generator, side: int) -> Kinds:
    """Return stroma with a little fat on an irregular outline."""
    inside = blob(rng, side, (side - 1) / 2, (side - 1) / 2, 0.46 * side)
    kinds = np.where(rng.random((side, side)) < 0.1, FAT, STROMA)
    return np.where(inside, kinds, -1)


def blob(rng: np.random.Generator, side: int, row: float, col: float, radius: float) -> NDArray[np.bool_]:
    """Return an irregular disc: its radius varies by a quarter with the angle."""
    y, x = np.mgrid[:side, :side]
    angle, distance = np.arctan2(y - row, x - col), np.hypot(y - row, x - col)
    waves = sum(np.cos((k + 1) * angle + rng.uniform(0, 2 * np.pi)) / (k + 1) for k in range(3))
    inside: NDArray[np.bool_] = distance < radius * (1 + 0.14 * waves)
    return inside


def place(rng: np.random.Generator, kinds: Kinds, where: NDArray[np.bool_], count: int, kind: int) -> Kinds:
    """Return the raster with `count` random cells of `where` turned into `kind`."""
    cells = np.argwhere(where & (kinds >= 0))
    chosen = cells[rng.permutation(len(cells))[:count]]
    kinds = kinds.copy()
    kinds[chosen[:, 0], chosen[:, 1]] = kind
    return kinds


def composition(rng: np.random.Generator, side: int, label: int) -> Kinds:
    """More scattered lymphocytes in one class: the control, for which positions are of no use."""
    kinds = tissue(rng, side)
    share = 0.13 if label else 0.10
    return place(rng, kinds, kinds >= 0, round(share * (kinds >= 0).sum()), LYMPHOCYTE)


def clustered(rng: np.random.Generator, side: int, label: int) -> Kinds:
    """Lymphocytes in clusters (1) or scattered (0)."""
    kinds = tissue(rng, side)
    count = round(0.15 * (kinds >= 0).sum())
    where = kinds >= 0
    if label:
        centres = np.argwhere(where)[rng.permutation(int(where.sum()))[:4]]
        y, x = np.mgrid[:side, :side]
        nearest = np.min([np.hypot(y - r, x - c) for r, c in centres], axis=0)
        where &= nearest <= np.sort(nearest[where])[min(round(1.3 * count), int(where.sum()) - 1)]
    return place(rng, kinds, where, count, LYMPHOCYTE)


def adjacency(rng: np.random.Generator, side: int, label: int) -> Kinds:
    """Pairs of tumour and lymphocyte side by side (1), or both scattered alone (0)."""
    kinds = tissue(rng, side)
    pairs = round(0.05 * (kinds >= 0).sum())
    cells = np.argwhere(kinds >= 0)
    for row, col in cells[rng.permutation(len(cells))[:pairs]]:
        kinds[row, col] = TUMOUR
        free = [(row + a, col + b) for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0))]
        free = [c for c in free if 0 <= c[0] < side and 0 <= c[1] < side and kinds[c] in (STROMA, FAT)]
        if label and free:
            kinds[free[rng.integers(len(free))]] = LYMPHOCYTE
    missing = int((kinds == TUMOUR).sum() - (kinds == LYMPHOCYTE).sum())
    return place(rng, kinds, (kinds == STROMA) | (kinds == FAT), missing, LYMPHOCYTE)


def rim(rng: np.random.Generator, side: int, label: int) -> Kinds:
    """Lymphocytes mixed into the tumour (1) or in a rim around it (0), as many of each kind in both."""
    kinds = tissue(rng, side)
    row, col = side / 2 + rng.uniform(-2, 2, 2)
    y, x = np.mgrid[:side, :side]
    distance = np.where(kinds >= 0, np.hypot(y - row, x - col) + rng.uniform(0, 1.5, kinds.shape), np.inf)
    order = np.argsort(distance, axis=None)
    tumour, lymphocytes = round(0.2 * (kinds >= 0).sum()), round(0.08 * (kinds >= 0).sum())
    nest = order[: tumour + lymphocytes]
    flat = kinds.ravel().copy()
    flat[nest] = TUMOUR
    outer = rng.permutation(nest)[:lymphocytes] if label else nest[tumour:]
    flat[outer] = LYMPHOCYTE
    return flat.reshape(kinds.shape)


def gradient(rng: np.random.Generator, side: int, label: int) -> Kinds:
    """Lymphocytes grow denser downwards (1) or upwards (0)."""
    kinds = tissue(rng, side)
    depth = (np.mgrid[:side, :side][0] + 0.5) / side
    weight = np.where(kinds >= 0, 0.2 + 1.6 * (depth if label else 1 - depth), 0).ravel()
    count = round(0.2 * (kinds >= 0).sum())
    flat = kinds.ravel().copy()
    flat[rng.choice(flat.size, count, replace=False, p=weight / weight.sum())] = LYMPHOCYTE
    return flat.reshape(kinds.shape)


def distance(rng: np.random.Generator, side: int, label: int) -> Kinds:
    """A nest of tumour and one of necrosis: near each other (1) or far apart (0)."""
    kinds = tissue(rng, side)
    apart = (0.28 if label else 0.5) * side
    angle = rng.uniform(0, 2 * np.pi)
    step = 0.5 * apart * np.array([np.sin(angle), np.cos(angle)])
    centre = (side - 1) / 2
    for kind, sign in ((TUMOUR, 1), (NECROSIS, -1)):
        y, x = np.mgrid[:side, :side]
        away = np.hypot(y - centre - sign * step[0], x - centre - sign * step[1])
        flat = kinds.ravel()
        flat[np.argsort(np.where(kinds >= 0, away, np.inf), axis=None)[: round(0.06 * side * side)]] = kind
    return kinds


def motif(rng: np.random.Generator, side: int, label: int) -> Kinds:
    """One 3 × 3 ring of lymphocytes around a tumour cell (1), or its nine cells scattered (0), among distractors."""
    kinds = tissue(rng, side)
    kinds = place(rng, kinds, kinds >= 0, round(0.02 * (kinds >= 0).sum()), NECROSIS)
    if not label:
        kinds = place(rng, kinds, kinds >= 0, 8, LYMPHOCYTE)
        return place(rng, kinds, kinds == STROMA, 1, TUMOUR)
    inner = np.argwhere(kinds[1:-1, 1:-1] >= 0) + 1
    row, col = inner[rng.integers(len(inner))]
    kinds[row - 1 : row + 2, col - 1 : col + 2] = LYMPHOCYTE
    kinds[row, col] = TUMOUR
    return kinds


RULES: dict[str, Rule] = {
    "composition": Rule(composition, noise=2.0),
    "clustered": Rule(clustered),
    "rim": Rule(rim, noise=2.0),
    "gradient": Rule(gradient),
    "adjacency": Rule(adjacency, noise=2.5),
    "distance": Rule(distance, noise=2.0),
    "motif": Rule(motif, side=(100, 100), noise=0.5),
}
