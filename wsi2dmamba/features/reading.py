"""Patches of a slide as arrays, with the slide kept open between chunks."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.core.errors import SlideError
from wsi2dmamba.slides.patches import read_patches
from wsi2dmamba.slides.reader import Backend, SlideReader, open_slide
from wsi2dmamba.slides.tilefile import TileGeometry

# The slide that this thread reads: chunks come slide by slide, and readers are not shared between threads.
_local = threading.local()


def read_patches_of(
    slide_path: str, geometry: TileGeometry, coords: NDArray[np.int64], reader: Backend = "auto"
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return (n, px, px, 3) uint8 RGB patches, and which of them could be read (False where the slide is damaged).

    Raises
    ------
    SlideError
        If the slide cannot be opened, or patches lie outside it.
    """
    opened = _reader(slide_path, reader)
    size = opened.levels[0].size
    outside = ((coords + geometry.patch_size_level0 <= 0) | (coords >= np.asarray(size))).any(axis=1)
    if outside.any():
        x, y = coords[outside][0].tolist()
        raise SlideError(
            f"{slide_path} has {size[0]}x{size[1]} pixels, but {int(outside.sum())} patches lie outside, the first at "
            f"({x}, {y}); tile it again"
        )
    return read_patches(opened, geometry, coords)


def _reader(path: str, backend: Backend) -> SlideReader:
    wanted = (path, backend)
    if getattr(_local, "wanted", None) != wanted:
        if getattr(_local, "wanted", None) is not None:
            _local.reader.close()
        _local.wanted = None
        _local.reader = open_slide(Path(path), backend)
        _local.wanted = wanted
    return _local.reader
