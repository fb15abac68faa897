"""The lattice of a slide: which cells, where, and how much tissue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsi2dmamba.core.errors import SlideError
from wsi2dmamba.slides.config import TileConfig
from wsi2dmamba.slides.layout import cell_fractions, lay_out
from wsi2dmamba.slides.tissue import Tissue


def tissue_of(mask: np.ndarray, downsample: float) -> Tissue:
    return Tissue(mask, np.zeros_like(mask), downsample, 0.25 * downsample)


def config(**options: object) -> TileConfig:
    return TileConfig(slides=(Path("a.svs"),), out=Path("out"), **options)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    slide_mpp=st.floats(0.1, 1.0),
    patch_px=st.integers(8, 80),
    overlap=st.integers(0, 7),
    origin=st.tuples(st.integers(-50, 200), st.integers(-50, 200)),
    min_tissue=st.floats(0, 1),
)
def test_every_kept_cell_lies_on_one_lattice_through_the_origin(
    seed: int, slide_mpp: float, patch_px: int, overlap: int, origin: tuple[int, int], min_tissue: float
) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((30, 40)) < 0.5
    size = (40 * 8 - 3, 30 * 8 - 5)
    options = config(mpp=1.0, patch_px=patch_px, overlap_px=overlap, origin=origin, min_tissue=min_tissue)
    tiles = lay_out("s", slide_mpp, size, tissue_of(mask, 8.0), options)
    if tiles is None:
        return
    lattice, side = tiles.geometry.lattice, tiles.geometry.patch_size_level0
    assert side == round(patch_px / slide_mpp) and lattice.step_level0 == round((patch_px - overlap) / slide_mpp)
    assert ((tiles.coords - np.array(origin)) % lattice.step_level0 == 0).all()
    np.testing.assert_array_equal(lattice.cells(tiles.coords), tiles.grid)
    assert lattice.contains(tiles.grid)
    assert (tiles.grid.min(axis=0) == 0).all() and (tiles.grid.max(axis=0) + 1 == lattice.shape).all()
    assert len(np.unique(tiles.grid, axis=0)) == len(tiles)
    assert (np.diff(tiles.grid[:, 0] * 10**6 + tiles.grid[:, 1]) > 0).all()
    assert (tiles.coords >= 0).all() and (tiles.coords < size).all()
    assert (tiles.tissue >= np.float32(min_tissue) - 1e-6).all() and (tiles.tissue > 0).all()


def test_fractions_equal_counting_every_level0_pixel() -> None:
    rng = np.random.default_rng(1)
    mask = rng.random((20, 25)) < 0.4
    full = mask.repeat(8, 0).repeat(8, 1)
    fractions = cell_fractions(tissue_of(mask, 8.0), (0, 0), 30, 37, (6, 7))
    padded = np.pad(full, ((0, 100), (0, 100)))
    counted = [[padded[r * 30 : r * 30 + 37, c * 30 : c * 30 + 37].mean() for c in range(7)] for r in range(6)]
    np.testing.assert_allclose(fractions, counted, atol=1e-12)


def test_exact_micrometres_not_magnification_classes() -> None:
    mask = np.ones((100, 100), dtype=bool)
    tiles = lay_out("s", 0.265, (8000, 8000), tissue_of(mask, 80.0), config(mpp=0.5, patch_px=256))
    assert tiles is not None and tiles.geometry.patch_size_level0 == 483  # 40x classes would say 512


def test_nothing_kept_is_none_and_tiny_patches_are_refused() -> None:
    empty = np.zeros((10, 10), dtype=bool)
    assert lay_out("s", 0.5, (1000, 1000), tissue_of(empty, 100.0), config(min_tissue=0.0)) is None
    with pytest.raises(SlideError, match="under one pixel"):
        lay_out("s", 8.0, (1000, 1000), tissue_of(~empty, 100.0), config(patch_px=1))
