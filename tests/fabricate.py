"""Every made-up cohort of the tests: small, seeded, written through the project's own files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile

from wsi2dmamba.demo.svs import SvsLayout, region_source, write_svs
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


def slide_image(size: tuple[int, int] = (2048, 1536), *, kind: str = "tissue", seed: int = 0) -> np.ndarray:
    """Return level 0 of a small slide as (height, width, 3) uint8: two blobs of pink, purple-dotted tissue on glass.

    Parameters
    ----------
    size
        (width, height), pixels.
    kind
        ``"tissue"`` on bright glass, ``"dark"`` for the same tissue on a black background (fluorescence-like
        scans, masked exports), ``"blank"`` for bright glass alone.
    """
    rng = np.random.default_rng(seed)
    width, height = size
    ground = (12, 12, 14) if kind == "dark" else (243, 242, 244)
    image = np.empty((height, width, 3), dtype=np.uint8)
    image[:] = ground
    if kind != "blank":
        inside = tissue_blobs(size)
        image[inside] = (214, 148, 186)
        nuclei = (
            inside & (rng.random((height // 8 + 1, width // 8 + 1)) < 0.2).repeat(8, 0).repeat(8, 1)[:height, :width]
        )
        image[nuclei] = (104, 62, 140)
    noise = rng.integers(-6, 7, size=(height, width, 1))
    return np.clip(image.astype(np.int16) + noise, 0, 255).astype(np.uint8)


def tissue_blobs(size: tuple[int, int]) -> np.ndarray:
    """Return (height, width) bool: where `slide_image` puts tissue: a big ellipse with a hole, and a small one."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    u, v = x / width, y / height
    big = ((u - 0.36) / 0.27) ** 2 + ((v - 0.5) / 0.36) ** 2 < 1
    hole = ((u - 0.36) / 0.04) ** 2 + ((v - 0.5) / 0.05) ** 2 < 1
    small = ((u - 0.82) / 0.11) ** 2 + ((v - 0.4) / 0.2) ** 2 < 1
    return (big & ~hole) | small


def svs(
    path: Path,
    *,
    size: tuple[int, int] = (2048, 1536),
    kind: str = "tissue",
    mpp: float | None = 0.5,
    seed: int = 0,
) -> Path:
    """Write a small pyramidal Aperio-style slide (see `slide_image`) and return its path.

    With ``mpp=None`` the slide says neither its resolution nor its magnification. Other ways to be bad:
    `corrupt_jpeg_tile` and `truncate` on the finished file.
    """
    layout = SvsLayout(mpp=mpp, magnification=None if mpp is None else 10.0 / mpp)
    write_svs(path, size, region_source(slide_image(size, kind=kind, seed=seed)), layout)
    return path


def corrupt_jpeg_tile(path: Path, at: tuple[float, float] = (0.36, 0.4)) -> tuple[int, int]:
    """Overwrite the level-0 JPEG tile at the relative position (x, y) with rubbish; the slide still opens.

    Returns
    -------
    tuple of int
        (x, y) of the tile's top-left corner, level-0 pixels.
    """
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[0]
        across = -(-page.imagewidth // page.tilewidth)
        column = int(at[0] * page.imagewidth) // page.tilewidth
        row = int(at[1] * page.imagelength) // page.tilelength
        offset, length = page.dataoffsets[row * across + column], page.databytecounts[row * across + column]
        corner = (column * page.tilewidth, row * page.tilelength)
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\x55" * length)
    return corner


def truncate(path: Path, fraction: float = 0.5) -> Path:
    """Cut the file short, as an interrupted copy does, and return its path."""
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * fraction))
    return path


def tile_folder(folder: Path, *, patients: int = 6, per_patient: int = 4, px: int = 40, seed: int = 0) -> Path:
    """Write images of two classes as ``CLASS/PATIENT/n.png`` in `folder`: stripes along rows, and along columns.

    Every patient has images of both classes and a tint of its own, which says nothing about the class.
    """
    import cv2

    rng = np.random.default_rng(seed)
    for patient in range(patients):
        tint = rng.uniform(0.8, 1.0, 3)
        for label in ("across", "down"):
            place = folder / label / f"p{patient}"
            place.mkdir(parents=True)
            for number in range(per_patient):
                wave = np.sin(2 * np.pi * np.arange(px) / 8 + rng.uniform(0, 6))
                stripes = np.broadcast_to(wave[:, None] if label == "across" else wave[None, :], (px, px))
                image = (128 + 60 * stripes[..., None] + rng.normal(0, 10, (px, px, 3))) * tint
                cv2.imwrite(str(place / f"{number}.png"), image.clip(0, 255).astype(np.uint8))
    return folder
