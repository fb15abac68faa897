"""The whole slide, small: what tissue is looked for in, and what overlays are drawn on."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.core.errors import SlideError
from wsi2dmamba.slides.reader import BadRegionError, SlideReader

# Tissue is looked for at about this many pixels along the longer side, no finer than this: finer shows nuclei
# instead of tissue, coarser loses needle biopsies.
_SIDE_PX = 2048
_FINEST_MPP = 2.0

# Levels are read in blocks of about this side; a block that fails is halved down to the smallest.
_BLOCK_PX = 2048
_SMALLEST_BLOCK_PX = 256


@dataclass(frozen=True)
class Thumbnail:
    """A slide reduced by area.

    Attributes
    ----------
    pixels
        (h, w, 3) uint8 RGB.
    downsample
        Level-0 pixels per thumbnail pixel.
    mpp
        Micrometres per thumbnail pixel.
    bad_blocks
        Blocks that could not be decoded; they have the background's colour.
    """

    pixels: NDArray[np.uint8]
    downsample: float
    mpp: float
    bad_blocks: int


@dataclass
class _Count:
    good: int = 0
    bad: int = 0
    last_error: BadRegionError | None = None


def read_thumbnail(reader: SlideReader, slide_mpp: float, coarsest_mpp: float = 16.0) -> Thumbnail:
    """Read a slide at the resolution that tissue is looked for at.

    The reduction from the level that is read is a whole number, so that the mask's pixels lie exactly on level 0's.

    Raises
    ------
    SlideError
        If no part of the level can be decoded.
    """
    wanted_mpp = max(reader.levels[0].size) * slide_mpp / _SIDE_PX
    wanted_mpp = min(max(wanted_mpp, _FINEST_MPP), coarsest_mpp)
    wanted = max(wanted_mpp / slide_mpp, 1.0)
    fitting = [index for index, level in enumerate(reader.levels) if level.downsample <= wanted * 1.01]
    index = fitting[-1] if fitting else 0
    downsample = reader.levels[index].downsample
    factor = max(1, round(wanted / downsample))
    count = _Count()
    pixels = _read_reduced(reader, index, factor, count)
    if count.good == 0:
        raise count.last_error or SlideError(f"{reader.path} has no pixels")
    return Thumbnail(pixels, downsample * factor, slide_mpp * downsample * factor, count.bad)


def _read_reduced(reader: SlideReader, index: int, factor: int, count: _Count) -> NDArray[np.uint8]:
    width, height = reader.levels[index].size
    reduced = np.empty((-(-height // factor), -(-width // factor), 3), dtype=np.uint8)
    reduced[:] = reader.background
    block = max(_BLOCK_PX // factor, 1) * factor
    for y in range(0, height, block):
        for x in range(0, width, block):
            _read_block(reader, index, factor, (x, y, min(block, width - x), min(block, height - y)), reduced, count)
    return reduced


def _read_block(
    reader: SlideReader,
    index: int,
    factor: int,
    box: tuple[int, int, int, int],
    reduced: NDArray[np.uint8],
    count: _Count,
) -> None:
    x, y, width, height = box
    try:
        pixels = reader.read(index, x, y, width, height)
    except BadRegionError as error:
        half = max(max(width, height) // 2 // factor, 1) * factor
        if half >= max(width, height) or max(width, height) <= _SMALLEST_BLOCK_PX:
            count.bad += 1
            count.last_error = error
            return
        for top in range(y, y + height, half):
            for left in range(x, x + width, half):
                part = (left, top, min(half, x + width - left), min(half, y + height - top))
                _read_block(reader, index, factor, part, reduced, count)
        return
    count.good += 1
    small = _reduce(pixels, factor)
    reduced[y // factor : y // factor + small.shape[0], x // factor : x // factor + small.shape[1]] = small


def _reduce(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    if factor == 1:
        return pixels
    missing = (-pixels.shape[0] % factor, -pixels.shape[1] % factor)
    if missing != (0, 0):
        pixels = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    shape = (pixels.shape[1] // factor, pixels.shape[0] // factor)
    return np.asarray(cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA), dtype=np.uint8)
