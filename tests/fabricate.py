"""Every made-up cohort of the tests: small, seeded, written through the project's own files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from wsi2dmamba.features.store import FeatureFile, write_features
from wsi2dmamba.slides.lattice import Lattice, row_major_order
from wsi2dmamba.slides.tilefile import TileFile, TileGeometry


@dataclass(frozen=True)
class FeatureCohort:
    """A folder of feature files and the CSV that goes with it."""

    csv: Path
    features: Path
    table: pd.DataFrame


def tile_file(slide_id: str, grid: np.ndarray, *, step_level0: int = 512, patch_px: int = 256) -> TileFile:
    """Return the patches at the cells of `grid` on a 40x slide tiled at 20x."""
    grid = np.asarray(grid, dtype=np.int32)[row_major_order(np.asarray(grid))]
    shape = (int(grid[:, 0].max()) + 1, int(grid[:, 1].max()) + 1)
    lattice = Lattice(origin=(128, 64), step_level0=step_level0, shape=shape)
    geometry = TileGeometry(
        slide_id=slide_id,
        slide_mpp=0.25,
        mpp=0.5,
        patch_px=patch_px,
        patch_size_level0=2 * patch_px,
        overlap_px=0,
        lattice=lattice,
        level0_size=(128 + (shape[1] + 1) * step_level0, 64 + (shape[0] + 1) * step_level0),
    )
    return TileFile(
        coords=lattice.corners(grid),
        grid=grid,
        tissue=np.ones(len(grid), dtype=np.float32),
        geometry=geometry,
        settings=json.dumps({"made_by": "tests"}),
    )


def irregular_grid(rng: np.random.Generator, rows: int, cols: int) -> np.ndarray:
    """Return the (row, col) cells of a ragged piece of tissue: an ellipse with a few holes."""
    r, c = np.mgrid[0:rows, 0:cols]
    inside = ((r - (rows - 1) / 2) / (rows / 2)) ** 2 + ((c - (cols - 1) / 2) / (cols / 2)) ** 2 <= 1.05
    inside &= rng.random((rows, cols)) > 0.05
    return np.argwhere(inside)


def feature_cohort(
    folder: Path,
    *,
    task: str = "classification",
    cases: int = 24,
    dim: int = 16,
    side: int = 6,
    seed: int = 0,
    signal: float = 1.0,
    two_slides_every: int = 4,
) -> FeatureCohort:
    """Write feature files and a cohort CSV whose label (or hazard) shifts the mean feature by `signal`.

    Parameters
    ----------
    folder
        Where `features/` and `cohort.csv` go.
    task
        ``"classification"`` (columns slide_id, case_id, label) or ``"survival"`` (time, event instead of label).
    cases, dim, side
        Number of patients, features per patch, and patches along each side of the grid.
    signal
        Shift of the mean in standard deviations; 0 leaves nothing to learn.
    two_slides_every
        Every so many patients one has two slides.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(cases):
        case_id = f"case-{index:03d}"
        positive = index % 2
        time = float(rng.exponential(24.0 * np.exp(-signal * positive)) + 0.1)
        event = int(rng.random() < 0.7)
        for slide in range(2 if index % two_slides_every == 0 else 1):
            slide_id = f"{case_id}-s{slide}"
            grid = irregular_grid(rng, side + index % 3, side + slide)
            matrix = rng.standard_normal((len(grid), dim)).astype(np.float32)
            matrix[:, : dim // 2] += signal * positive
            tiles = tile_file(slide_id, grid)
            write_features(folder / "features" / f"{slide_id}.h5", FeatureFile(matrix, tiles, "made-up", "1"))
            outcome = {"label": f"class-{positive}"} if task == "classification" else {"time": time, "event": event}
            rows.append({"slide_id": slide_id, "case_id": case_id, "site": f"site-{index % 3}", **outcome})
    table = pd.DataFrame(rows)
    csv = folder / "cohort.csv"
    table.to_csv(csv, index=False)
    return FeatureCohort(csv=csv, features=folder / "features", table=table)
