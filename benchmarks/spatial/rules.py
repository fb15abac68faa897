"""The generating rules: which kinds of tissue lie where, and what outcome follows from it.

Every rule draws a raster of kinds for a wanted outcome. But for `composition`, every outcome has the same expected
composition: only arrangement tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt

from benchmarks.spatial.tissue import (
    FAT,
    LYMPHOCYTE,
    NECROSIS,
    STROMA,
    TUMOUR,
    Kinds,
    away_from,
    place,
    share,
    tissue,
)


@dataclass(frozen=True)
class Rule:
    """A task: how a bag is drawn for an outcome, on what size, and how noisy its features are.

    Attributes
    ----------
    draw
        From a generator, a side length and an outcome to the raster of kinds. The outcome is class 0 or 1 or, for
        survival, a closeness in [0, 1].
    noise
        Standard deviation of each feature around its kind's mean; the means' own is 1.
    side
        Smallest and largest side of the bounding box, in patches.
    test_side
        That of the test bags, where it differs.
    survival
        Whether the outcome is a survival time, judged by the C-index, rather than a class, judged by AUC.
    """

    draw: Callable[[np.random.Generator, int, float], Kinds]
    noise: float
    side: tuple[int, int] = (14, 20)
    test_side: tuple[int, int] | None = None
    survival: bool = False


def composition(rng: np.random.Generator, side: int, label: float) -> Kinds:
    """Many scattered lymphocytes (1) or few (0): the control, for which positions are of no use."""
    kinds = tissue(rng, side)
    return place(rng, kinds, kinds >= 0, share(kinds, 0.16 if label else 0.02), LYMPHOCYTE)


def clustered(rng: np.random.Generator, side: int, label: float) -> Kinds:
    """Lymphocytes in four clusters (1) or scattered (0)."""
    kinds = tissue(rng, side)
    count, where = share(kinds, 0.15), kinds >= 0
    if label:
        centres = rng.permutation(np.argwhere(where))[:4]
        nearest = np.min([away_from(side, row, col) for row, col in centres], axis=0)
        where &= nearest <= np.sort(nearest[where])[round(1.3 * count)]
    return place(rng, kinds, where, count, LYMPHOCYTE)


def adjacency(rng: np.random.Generator, side: int, label: float) -> Kinds:
    """Pairs of tumour and lymphocyte side by side (1), or both scattered alone (0)."""
    kinds = tissue(rng, side)
    cells = rng.permutation(np.argwhere(kinds >= 0))
    for row, col in cells[: share(kinds, 0.05)]:
        kinds[row, col] = TUMOUR
        free = [(row + a, col + b) for a, b in ((0, 1), (1, 0), (0, -1), (-1, 0))]
        free = [c for c in free if min(c) >= 0 and max(c) < side and kinds[c] in (STROMA, FAT)]
        if label and free:
            kinds[free[rng.integers(len(free))]] = LYMPHOCYTE
    missing = int((kinds == TUMOUR).sum() - (kinds == LYMPHOCYTE).sum())
    return place(rng, kinds, (kinds == STROMA) | (kinds == FAT), missing, LYMPHOCYTE)


def rim(rng: np.random.Generator, side: int, label: float) -> Kinds:
    """Lymphocytes mixed into the tumour (1) or in a rim around it (0)."""
    kinds = tissue(rng, side)
    row, col = side / 2 + rng.uniform(-2, 2, 2)
    away = np.where(kinds >= 0, away_from(side, row, col) + rng.uniform(0, 1.5, kinds.shape), np.inf)
    tumour, lymphocytes = share(kinds, 0.2), share(kinds, 0.08)
    nest = np.argsort(away, axis=None)[: tumour + lymphocytes]
    flat = kinds.ravel().copy()
    flat[nest] = TUMOUR
    flat[rng.permutation(nest)[:lymphocytes] if label else nest[tumour:]] = LYMPHOCYTE
    return flat.reshape(kinds.shape)


def gradient(rng: np.random.Generator, side: int, label: float) -> Kinds:
    """Lymphocytes grow denser downwards (1) or upwards (0)."""
    kinds = tissue(rng, side)
    depth = (np.mgrid[:side, :side][0] + 0.5) / side
    weight = np.where(kinds >= 0, 0.2 + 1.6 * (depth if label else 1 - depth), 0).ravel()
    flat = kinds.ravel().copy()
    flat[rng.choice(flat.size, share(kinds, 0.2), replace=False, p=weight / weight.sum())] = LYMPHOCYTE
    return flat.reshape(kinds.shape)


NEAREST, FARTHEST = 1.0, 6.0
"""Distance of the lymphocytes from the nest in the survival rule, in patches, at closeness 1 and 0."""


def distance(rng: np.random.Generator, side: int, closeness: float) -> Kinds:
    """A nest of tumour, and as many lymphocytes always, about one distance away from it that falls with closeness."""
    kinds = tissue(rng, side)
    row, col = (side - 1) / 2 + rng.uniform(-2, 2, 2)
    away = np.where(kinds >= 0, away_from(side, row, col), np.inf)
    flat = kinds.ravel().copy()
    flat[np.argsort(away, axis=None)[: share(kinds, 0.08)]] = TUMOUR
    apart = distance_transform_edt((flat != TUMOUR).reshape(kinds.shape)).ravel()
    wanted = FARTHEST + (NEAREST - FARTHEST) * closeness + rng.uniform(-0.7, 0.7, flat.size)
    miss = np.where((flat >= 0) & (flat != TUMOUR), np.abs(apart - wanted), np.inf)
    flat[np.argsort(miss)[: share(kinds, 0.08)]] = LYMPHOCYTE
    return flat.reshape(kinds.shape)


def motif(rng: np.random.Generator, side: int, label: float) -> Kinds:
    """One 3 × 3 ring of lymphocytes around a tumour cell (1), or its nine cells scattered (0), among distractors."""
    kinds = tissue(rng, side)
    for kind in (NECROSIS, LYMPHOCYTE, TUMOUR):
        kinds = place(rng, kinds, kinds >= 0, share(kinds, 0.02), kind)
    if label:
        row, col = rng.permutation(np.argwhere(binary_erosion(kinds >= 0, np.ones((3, 3)))))[0]
        chosen = np.argwhere(np.ones((3, 3))) + np.array([row - 1, col - 1])
        chosen = np.concatenate([chosen[4:5], chosen[:4], chosen[5:]])
    else:
        chosen = rng.permutation(np.argwhere(kinds >= 0))[:9]
    kinds[chosen[:, 0], chosen[:, 1]] = LYMPHOCYTE
    kinds[tuple(chosen[0])] = TUMOUR
    return kinds


RULES: dict[str, Rule] = {
    "rim": Rule(rim, noise=1.0),
    "rim-hard": Rule(rim, noise=1.5),
    "composition": Rule(composition, noise=1.5),
    "clustered": Rule(clustered, noise=1.6),
    "adjacency": Rule(adjacency, noise=1.3),
    "gradient": Rule(gradient, noise=1.5),
    "distance": Rule(distance, noise=0.7, survival=True),
    "motif": Rule(motif, noise=0.5, side=(16, 28), test_side=(100, 100)),
}
