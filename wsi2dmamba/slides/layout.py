"""Which cells of a slide's lattice become patches."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.core.errors import SlideError
from wsi2dmamba.slides.config import TileConfig
from wsi2dmamba.slides.lattice import Lattice
from wsi2dmamba.slides.tilefile import SlideStamp, TileFile, TileGeometry
from wsi2dmamba.slides.tissue import Tissue


def lay_out(
    slide_id: str,
    slide_mpp: float,
    level0_size: tuple[int, int],
    tissue: Tissue,
    config: TileConfig,
    stamp: SlideStamp | None = None,
    settings: str = "{}",
) -> TileFile | None:
    """Choose the patches of a slide: the lattice cells with enough tissue.

    The lattice goes through `config.origin`, so that patches of slides of one size lie alike; its rows and columns
    count from the kept patches' bounding box, whose corner is the tile file's origin. A patch at the right or lower
    edge may reach beyond the slide, where there is no tissue.

    Returns
    -------
    TileFile or None
        None if no cell has enough tissue.

    Raises
    ------
    SlideError
        If a patch or a step would be under one level-0 pixel.
    """
    side = round(config.patch_px * config.mpp / slide_mpp)
    step = round((config.patch_px - config.overlap_px) * config.mpp / slide_mpp)
    if min(side, step) < 1:
        raise SlideError(
            f"{slide_id}: patches of {config.patch_px} px at {config.mpp:g} µm/px are under one pixel here"
        )
    origin = (config.origin[0] % step, config.origin[1] % step)
    # A corner inside the slide, or one step before it where the origin is not (0, 0).
    start = (origin[0] - step if origin[0] else 0, origin[1] - step if origin[1] else 0)
    cols = len(range(start[0], level0_size[0], step))
    rows = len(range(start[1], level0_size[1], step))
    fractions = cell_fractions(tissue, start, step, side, (rows, cols))
    keep = (fractions >= config.min_tissue) & (fractions > 0)
    if start != (0, 0):  # corners before the slide would be negative coordinates, which other tools refuse
        keep[0] &= start[1] >= 0
        keep[:, 0] &= start[0] >= 0
    if not keep.any():
        return None
    cells = np.argwhere(keep)
    first = cells.min(axis=0)
    shape = cells.max(axis=0) - first + 1
    lattice = Lattice(
        origin=(start[0] + int(first[1]) * step, start[1] + int(first[0]) * step),
        step_level0=step,
        shape=(int(shape[0]), int(shape[1])),
    )
    grid = (cells - first).astype(np.int32)
    geometry = TileGeometry(
        slide_id=slide_id,
        slide_mpp=slide_mpp,
        mpp=config.mpp,
        patch_px=config.patch_px,
        patch_size_level0=side,
        overlap_px=config.overlap_px,
        lattice=lattice,
        level0_size=level0_size,
    )
    return TileFile(
        coords=lattice.corners(grid),
        grid=grid,
        tissue=fractions[keep].astype(np.float32),
        geometry=geometry,
        stamp=stamp,
        settings=settings,
    )


def cell_fractions(
    tissue: Tissue, start: tuple[int, int], step: int, side: int, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return (rows, cols) tissue fractions of the cells, mask pixels on their edges counted by the part inside.

    Parameters
    ----------
    tissue
        The mask.
    start
        (x, y) of cell (0, 0), level-0 pixels.
    step, side
        Of the lattice and of a patch, level-0 pixels.
    shape
        (rows, cols).
    """
    sums = cv2.integral(tissue.mask.astype(np.uint8)).astype(np.float64)
    tops = (start[1] + np.arange(shape[0]) * step) / tissue.downsample
    lefts = (start[0] + np.arange(shape[1]) * step) / tissue.downsample
    length = side / tissue.downsample
    along_y = _interpolated(sums, tops + length, 0) - _interpolated(sums, tops, 0)
    inside = _interpolated(along_y, lefts + length, 1) - _interpolated(along_y, lefts, 1)
    return np.clip(inside / length**2, 0.0, 1.0)


def _interpolated(sums: NDArray[np.float64], places: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return the summed-area table at fractional places along an axis (it is linear between pixels)."""
    last = sums.shape[axis] - 1
    places = np.clip(places, 0, last)
    low = np.minimum(places.astype(np.int64), max(last - 1, 0))
    weight = places - low
    weight = weight[:, None] if axis == 0 else weight[None, :]
    below = np.take(sums, low, axis=axis)
    above = np.take(sums, np.minimum(low + 1, last), axis=axis)
    return np.asarray(below * (1 - weight) + above * weight)


def stamp_of(path: Path) -> SlideStamp:
    """Return which file a slide is now; of a folder: its files' sizes added up and the latest change."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    states = [file.stat() for file in files]
    return SlideStamp(
        path=str(path.absolute()),
        size_bytes=sum(state.st_size for state in states),
        modified_ns=max((state.st_mtime_ns for state in states), default=0),
    )
