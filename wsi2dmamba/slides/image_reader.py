"""Plain pictures (PNG, JPEG, BMP, …) as slides of one level, held in memory."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.core.errors import SlideError
from wsi2dmamba.slides.reader import BaseReader, Level, filled


class ArrayReader(BaseReader):
    """A picture in memory as a slide.

    Parameters
    ----------
    path
        What messages call it.
    pixels
        (height, width, 3) uint8 RGB.
    mpp
        Micrometres per pixel, or None.
    """

    backend = "image"
    merges_reads = False

    def __init__(self, path: Path, pixels: NDArray[np.uint8], mpp: float | None = None) -> None:
        self.path = path
        self.mpp = mpp
        self._pixels = pixels
        self.levels = (Level((pixels.shape[1], pixels.shape[0]), 1.0),)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """See `SlideReader.read`."""
        part = self._pixels[max(y, 0) : max(y + height, 0), max(x, 0) : max(x + width, 0)]
        if part.shape[:2] == (height, width):
            return part.copy()
        picture = filled(width, height, self.background)
        left, top = max(-x, 0), max(-y, 0)
        picture[top : top + part.shape[0], left : left + part.shape[1]] = part
        return picture


class ImageReader(ArrayReader):
    """A picture file as a slide. Its resolution is not believed: pictures carry dots per inch for printing.

    Raises
    ------
    SlideError
        If it is no picture.
    """

    def __init__(self, path: Path) -> None:
        try:
            data = np.fromfile(path, dtype=np.uint8)  # not cv2.imread: it cannot open every non-ASCII name
        except OSError as error:
            raise SlideError(f"{path} cannot be opened: {error.strerror}") from error
        pixels = None
        if data.size:
            try:
                pixels = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
            except cv2.error as error:
                raise SlideError(f"{path} cannot be decoded: {' '.join(str(error).split())}") from error
        if pixels is None:
            raise SlideError(f"{path} is no picture that can be decoded (cut short or damaged)")
        super().__init__(path, np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8))
