"""Slides through OpenSlide: SVS, NDPI, MRXS, SCN, BIF, VSI, Philips and generic TIFF, DICOM."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
import openslide
from numpy.typing import NDArray

from wsi2dmamba.core.errors import SlideError
from wsi2dmamba.slides.reader import BadRegionError, BaseReader, Level, Rgb, filled

# A damaged chain can be a circle.
_MOST_DIRECTORIES = 1000


class OpenSlideReader(BaseReader):
    """A slide opened by OpenSlide.

    Parameters
    ----------
    path
        The slide file, or the folder of a DICOM slide.

    Raises
    ------
    SlideError
        If OpenSlide refuses it.
    """

    backend = "openslide"
    # Its own tile cache serves neighbouring patches; larger regions measured slower (benchmarks/reading.py).
    merges_reads = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _any_file(path)
        self._slide: openslide.OpenSlide | None = _open(self._file, path)
        properties = self._slide.properties
        self.vendor = properties.get(openslide.PROPERTY_NAME_VENDOR, "")
        self.levels = tuple(
            Level((int(width), int(height)), float(downsample))
            for (width, height), downsample in zip(
                self._slide.level_dimensions, self._slide.level_downsamples, strict=True
            )
        )
        self.mpp = _mpp(properties)
        self._background = _background(properties.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR))

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """See `SlideReader.read`."""
        size = self.levels[level].size
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, size[0]), min(y + height, size[1])
        if (left, top, right, bottom) == (x, y, x + width, y + height):
            return self._read_inside(level, x, y, width, height)
        picture = filled(width, height, self.background)
        if right > left and bottom > top:
            inside = self._read_inside(level, left, top, right - left, bottom - top)
            picture[top - y : bottom - y, left - x : right - x] = inside
        return picture

    def _read_inside(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        downsample = self.levels[level].downsample
        corner = (round(x * downsample), round(y * downsample))
        try:
            if self._slide is None:
                self._slide = _open(self._file, self.path)
            image = self._slide.read_region(corner, level, (width, height))
        except openslide.OpenSlideError as error:
            # After an error an OpenSlide handle refuses everything: the next read opens the slide afresh.
            self.close()
            raise BadRegionError(f"{self.path} cannot be read at level-0 pixel {corner}: {error}") from error
        pixels = np.asarray(image)
        alpha = pixels[..., 3]
        rgb = np.ascontiguousarray(pixels[..., :3])
        if alpha.min() == 255:
            return rgb
        weight = alpha[..., None].astype(np.uint16)
        ground = np.asarray(self.background, dtype=np.uint16)
        return ((rgb * weight + ground * (255 - weight) + 127) // 255).astype(np.uint8)

    def close(self) -> None:
        """Give the file back; reading again opens it anew."""
        if self._slide is not None:
            self._slide.close()
            self._slide = None


def _any_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    files = sorted(path.glob("*.dcm"))
    if not files:
        raise SlideError(f"{path} is a folder without DICOM files (*.dcm), so it is no slide")
    return files[0]


def _open(file: Path, path: Path) -> openslide.OpenSlide:
    try:
        return openslide.OpenSlide(file)
    except (openslide.OpenSlideError, OSError) as error:
        reason = "the file is cut short; copy it again" if tiff_is_cut_short(file) else " ".join(str(error).split())
        raise SlideError(f"{path} cannot be opened: {reason}") from error


def tiff_is_cut_short(file: Path) -> bool:
    """Tell whether a file is a TIFF one of whose directories should lie beyond its end."""
    try:
        with file.open("rb") as opened:
            return _chain_leaves_the_file(opened, file.stat().st_size)
    except (OSError, struct.error):
        return False


def _chain_leaves_the_file(file: BinaryIO, size: int) -> bool:
    """Follow the TIFF's directories (TIFF 6.0, section 2; BigTIFF has 8-byte offsets and counts)."""
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return False
    version = struct.unpack(order + "H", head[2:4])[0]
    if version not in (42, 43):
        return False
    count, entry, link = ("H", 12, "I") if version == 42 else ("Q", 20, "Q")
    start = 4 if version == 42 else 8
    offset = struct.unpack(order + link, head[start : start + struct.calcsize(link)])[0]
    for _ in range(_MOST_DIRECTORIES):
        if offset == 0:
            return False
        if offset + struct.calcsize(count) > size:
            return True
        file.seek(offset)
        entries = struct.unpack(order + count, file.read(struct.calcsize(count)))[0]
        end = offset + struct.calcsize(count) + entries * entry
        if end + struct.calcsize(link) > size:
            return True
        file.seek(end)
        offset = struct.unpack(order + link, file.read(struct.calcsize(link)))[0]
    return False


def _mpp(properties: Mapping[str, str]) -> float | None:
    values = []
    for name in (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y):
        try:
            value = float(properties[name])
        except (KeyError, ValueError):
            continue
        if np.isfinite(value) and value > 0:
            values.append(value)
    return float(np.mean(values)) if values else None


def _background(text: str | None) -> Rgb | None:
    if text is None or len(text) != 6:
        return None
    try:
        return (int(text[0:2], 16), int(text[2:4], 16), int(text[4:6], 16))
    except ValueError:
        return None
