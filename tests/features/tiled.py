"""Tiled slides for the extraction tests, made without the tiling stage."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.fabricate import svs
from wsi2dmamba.slides.lattice import Lattice
from wsi2dmamba.slides.tilefile import SlideStamp, TileFile, TileGeometry, write_tile_file


def tiles_of(slide: Path, *, patch_px: int = 64, size: tuple[int, int] = (512, 384)) -> TileFile:
    """Return the tile file of every whole patch of a slide at 0.5 µm/px."""
    shape = (size[1] // patch_px, size[0] // patch_px)
    lattice = Lattice((0, 0), patch_px, shape)
    grid = np.argwhere(np.ones(shape, dtype=bool)).astype(np.int32)
    status = slide.stat()
    return TileFile(
        coords=lattice.corners(grid),
        grid=grid,
        tissue=np.ones(len(grid), dtype=np.float32),
        geometry=TileGeometry(slide.stem, 0.5, 0.5, patch_px, patch_px, 0, lattice, size),
        stamp=SlideStamp(str(slide.absolute()), status.st_size, status.st_mtime_ns),
        settings=json.dumps({"patch_px": patch_px}),
    )


def tiled_slides(folder: Path, names: list[str], *, patch_px: int = 64, size: tuple[int, int] = (512, 384)) -> Path:
    """Write slides and their tile files and return the folder that `extract --tiles` takes."""
    for seed, name in enumerate(names):
        slide = svs(folder / "slides" / f"{name}.svs", size=size, seed=seed)
        write_tile_file(folder / "tiled" / "tiles" / f"{name}.h5", tiles_of(slide, patch_px=patch_px, size=size))
    return folder / "tiled"
