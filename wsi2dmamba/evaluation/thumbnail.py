"""A small picture of a slide, and how its pixels map to level 0."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.slides.reader import open_slide


def read_thumbnail(slide: Path, longest_px: int) -> tuple[NDArray[np.uint8], float]:
    """Return the whole slide with its longer side at most `longest_px`.

    Parameters
    ----------
    slide
        Any readable slide.
    longest_px
        Longest side of the picture, pixels.

    Returns
    -------
    tuple
        (height, width, 3) uint8 RGB, and level-0 pixels per thumbnail pixel (the same along both axes up to the
        rounding of the size to whole pixels).

    Raises
    ------
    SlideError
        If the slide cannot be read.
    """
    with open_slide(slide) as reader:
        width, height = reader.levels[0].size
        scale = max(max(width, height) / longest_px, 1.0)
        fitting = [k for k, level in enumerate(reader.levels) if level.downsample <= scale]
        level = max(fitting, key=lambda k: reader.levels[k].downsample, default=0)
        chosen = reader.levels[level]
        picture = reader.read(level, 0, 0, *chosen.size)
    size = (max(round(width / scale), 1), max(round(height / scale), 1))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8), scale
