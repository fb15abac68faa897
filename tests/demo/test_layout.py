"""The same counts, in the rim or spread: what the demo's slides promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion

from wsi2dmamba.demo.layout import GLASS, arrange, random_composition
from wsi2dmamba.demo.tiles import ROLES

SIDE = 16
EIGHT = np.ones((3, 3), dtype=bool)


def _layout(seed: int, mixing: float):
    rng = np.random.default_rng(seed)
    composition = random_composition(rng, SIDE, ROLES)
    return composition, arrange(composition, SIDE, mixing, rng)


def _depth_of_infiltrate(layout: np.ndarray) -> float:
    """Return the share of the infiltrate that touches neither stroma, fat nor glass by a side."""
    interior = np.isin(layout, [ROLES.index(role) for role in ("tumour", "infiltrate", "necrosis")])
    return float((layout[binary_erosion(interior)] == ROLES.index("infiltrate")).sum()) / float(
        (layout == ROLES.index("infiltrate")).sum()
    )


@pytest.mark.parametrize("mixing", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_counts_are_kept_exactly(seed, mixing):
    composition, layout = _layout(seed, mixing)
    counts = {role: int((layout == number).sum()) for number, role in enumerate(ROLES)}
    assert counts == composition.counts()
    assert (layout != GLASS).sum() == composition.total


@pytest.mark.parametrize("mixing", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_only_the_outer_band_touches_glass(seed, mixing):
    _, layout = _layout(seed, mixing)
    near_glass = binary_dilation(np.pad(layout, 1, constant_values=GLASS) == GLASS)[1:-1, 1:-1] & (layout != GLASS)
    assert set(layout[near_glass].tolist()) <= {ROLES.index("stroma"), ROLES.index("fat")}
    assert (layout[[0, -1]] == GLASS).all() and (layout[:, [0, -1]] == GLASS).all()


def test_mixing_moves_the_infiltrate_from_the_rim_into_the_tumour():
    depth = {
        mixing: np.mean([_depth_of_infiltrate(_layout(s, mixing)[1]) for s in range(20)]) for mixing in (0, 0.5, 1)
    }
    assert depth[0] < 0.15 < depth[0.5] < depth[1]
    assert depth[1] > 0.5


def test_layout_follows_the_seed():
    assert np.array_equal(_layout(5, 0.4)[1], _layout(5, 0.4)[1])
    assert not np.array_equal(_layout(5, 0.4)[1], _layout(6, 0.4)[1])
