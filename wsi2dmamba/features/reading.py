"""Patches of a slide as arrays, with the slide kept open between chunks."""

from __future__ import annotations

import cv2
import numpy as np
import openslide
from numpy.typing import NDArray

from wsi2dmamba.core.errors import SlideError
from wsi2dmamba.slides.tilefile import TileGeometry

_open: dict[str, openslide.OpenSlide] = {}


def read_patches(
    slide_path: str, geometry: TileGeometry, coords: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return (n, px, px, 3) uint8 RGB patches, and which of them could be read (False where the slide is damaged)."""
    px = geometry.patch_px
    patches = np.full((len(coords), px, px, 3), 255, dtype=np.uint8)
    readable = np.ones(len(coords), dtype=bool)
    for index, (x, y) in enumerate(coords.tolist()):
        slide = _slide(slide_path)
        level = slide.get_best_level_for_downsample(geometry.patch_size_level0 / px + 1e-6)
        side = max(1, round(geometry.patch_size_level0 / slide.level_downsamples[level]))
        try:
            image = np.asarray(slide.read_region((x, y), level, (side, side)).convert("RGB"))
        except openslide.OpenSlideError:
            readable[index] = False
            _close()  # after an error an OpenSlide handle refuses everything
            continue
        patches[index] = image if side == px else cv2.resize(image, (px, px), interpolation=cv2.INTER_AREA)
    return patches, readable


def _slide(path: str) -> openslide.OpenSlide:
    if path not in _open:
        _close()
        try:
            _open[path] = openslide.OpenSlide(path)
        except openslide.OpenSlideError as error:
            raise SlideError(f"{path} cannot be opened: {error}") from error
    return _open[path]


def _close() -> None:
    for slide in _open.values():
        slide.close()
    _open.clear()
