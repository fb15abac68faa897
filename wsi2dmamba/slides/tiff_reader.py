"""TIFFs that OpenSlide refuses or misreads: OME-TIFF, strips, rare compressions, 16 bits, fluorescence channels."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from wsi2dmamba.core.errors import SlideError
from wsi2dmamba.slides.reader import BadRegionError, BaseReader, Level, filled
from wsi2dmamba.slides.resolution import plausible_mpp

# A level that is not stored in tiles is read whole; more than this is refused.
_WHOLE_LEVEL_BYTES = 4 << 30

_UM_PER_UNIT = {"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "um": 1.0, "nm": 1e-3, "inch": 25_400.0, "in": 25_400.0}
_TIFF_UNIT_UM = {2: 25_400.0, 3: 10_000.0}


class TiffReader(BaseReader):
    """A TIFF through tifffile.

    One grey channel is shown grey. Several single channels (fluorescence) are shown as blue, green and red in
    their order, the usual DAPI, FITC, TRITC. Values of more than 8 bits are scaled so that the 99.9th percentile of
    the coarsest level is white.

    Raises
    ------
    SlideError
        If it is no TIFF, or its arrangement cannot be shown as a picture.
    """

    backend = "tifffile"
    merges_reads = True

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._tiff = tifffile.TiffFile(path)
        except (tifffile.TiffFileError, OSError, ValueError) as error:
            raise SlideError(f"{path} cannot be opened: {' '.join(str(error).split())}") from error
        try:
            self._series = _largest_series(self._tiff, path)
            self._levels = [_LevelArray(path, level) for level in self._series.levels]
            width = self._levels[0].size[0]
            self.levels = tuple(Level(level.size, width / level.size[0]) for level in self._levels)
            self.mpp = tiff_mpp(self._tiff, self._series.keyframe)
            self._white = self._white_level()
        except BaseException:
            self._tiff.close()
            raise

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """See `SlideReader.read`."""
        size = self.levels[level].size
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, size[0]), min(y + height, size[1])
        whole = (left, top, right, bottom) == (x, y, x + width, y + height)
        picture = filled(width, height, (0, 0, 0) if whole else self.background)
        if right > left and bottom > top:
            channels = self._levels[level].read(left, top, right - left, bottom - top)
            picture[top - y : bottom - y, left - x : right - x] = as_rgb(channels, self._white)
        return picture

    def close(self) -> None:
        """Give the file back."""
        self._tiff.close()

    def _white_level(self) -> float:
        keyframe = self._series.keyframe
        if keyframe.dtype == np.uint8:
            return 255.0
        level = self._levels[-1]
        sample = level.read(0, 0, min(level.size[0], 4096), min(level.size[1], 4096))
        return max(float(np.percentile(sample.astype(np.float64), 99.9)), 1e-6)


def as_rgb(channels: NDArray[np.generic], white: float) -> NDArray[np.uint8]:
    """Return (h, w, 3) uint8 of (h, w, channels) values; see `TiffReader`."""
    if channels.dtype != np.uint8:
        scaled = np.clip(channels.astype(np.float32) * (255.0 / white), 0, 255)
        channels = np.rint(np.nan_to_num(scaled)).astype(np.uint8)
    count = channels.shape[2]
    if count == 1:
        return np.asarray(np.repeat(channels, 3, axis=2), dtype=np.uint8)
    if count == 2:
        return np.asarray(np.concatenate([np.zeros_like(channels[..., :1]), channels[..., ::-1]], axis=2), np.uint8)
    return np.asarray(channels[..., :3], dtype=np.uint8)


def tiff_mpp(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> float | None:
    """Return µm per pixel from a page's resolution, else from OME metadata; None if neither can be true."""
    found = [_resolution_mpp(page), _ome_mpp(tiff.ome_metadata)]
    plausible = [value for value in found if plausible_mpp(value)]
    return plausible[0] if plausible else next((value for value in found if value is not None), None)


def _resolution_mpp(page: tifffile.TiffPage) -> float | None:
    try:
        numerator, denominator = page.tags["XResolution"].value
        unit = int(page.tags["ResolutionUnit"].value)
    except (KeyError, TypeError, ValueError):
        return None
    if unit not in _TIFF_UNIT_UM or numerator <= 0 or denominator <= 0:
        return None
    return float(_TIFF_UNIT_UM[unit] * denominator / numerator)


def _ome_mpp(text: str | None) -> float | None:
    if not text or "<!DOCTYPE" in text or "<!ENTITY" in text:  # no slide needs them; they can be bombs
        return None
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError:
        return None
    for element in root.iter():
        if element.tag.rpartition("}")[2] == "Pixels" and element.get("PhysicalSizeX"):
            unit = element.get("PhysicalSizeXUnit", "µm")
            try:
                return float(element.get("PhysicalSizeX", "")) * _UM_PER_UNIT[unit]
            except (KeyError, ValueError):
                return None
    return None


def _largest_series(tiff: tifffile.TiffFile, path: Path) -> tifffile.TiffPageSeries:
    pictures = [series for series in tiff.series if {"Y", "X"} <= set(series.axes) and len(series.pages)]
    if not pictures:
        raise SlideError(f"{path} holds no picture")
    return max(pictures, key=lambda series: series.keyframe.imagewidth * series.keyframe.imagelength)


class _LevelArray:
    """One level: its channels' pages, read tile by tile, or whole if it is not stored in tiles."""

    def __init__(self, path: Path, level: tifffile.TiffPageSeries) -> None:
        self._path = path
        self._level = level
        page = level.keyframe
        self.size = (int(page.imagewidth), int(page.imagelength))
        self._page = page
        self._channels = _channel_pages(path, level)
        self._whole: NDArray[np.generic] | None = None
        tile_bytes = page.imagewidth * page.imagelength * page.samplesperpixel * (page.bitspersample // 8)
        if not page.is_tiled and tile_bytes * len(self._channels) > _WHOLE_LEVEL_BYTES:
            raise SlideError(f"{path} is not stored in tiles and too large to read whole; convert it to a tiled TIFF")

    def read(self, x: int, y: int, width: int, height: int) -> NDArray[np.generic]:
        """Return (height, width, channels) of the stored type."""
        try:
            if self._page.is_tiled:
                parts = [self._read_tiled(page, x, y, width, height) for page in self._channels]
                return np.concatenate(parts, axis=2)
            if self._whole is None:
                self._whole = np.concatenate([_channels_last(page, page.asarray()) for page in self._channels], axis=2)
        except (ValueError, RuntimeError, OSError, tifffile.TiffFileError) as error:
            raise BadRegionError(f"{self._path} cannot be read: {' '.join(str(error).split())}") from error
        return self._whole[y : y + height, x : x + width]

    def _read_tiled(self, page: tifffile.TiffPage, x: int, y: int, width: int, height: int) -> NDArray[np.generic]:
        planes = page.samplesperpixel if int(page.planarconfig) == 2 else 1
        samples = page.samplesperpixel // planes
        result = np.zeros((height, width, page.samplesperpixel), dtype=page.dtype)
        across, down = -(-page.imagewidth // page.tilewidth), -(-page.imagelength // page.tilelength)
        for plane in range(planes):
            for row in range(y // page.tilelength, -(-(y + height) // page.tilelength)):
                for column in range(x // page.tilewidth, -(-(x + width) // page.tilewidth)):
                    tile = self._tile(page, plane * across * down + row * across + column)
                    if tile is None:
                        continue
                    top, left = row * page.tilelength, column * page.tilewidth
                    y0, y1 = max(y, top), min(y + height, top + tile.shape[0])
                    x0, x1 = max(x, left), min(x + width, left + tile.shape[1])
                    target = result[y0 - y : y1 - y, x0 - x : x1 - x, plane : plane + samples]
                    target[...] = tile[y0 - top : y1 - top, x0 - left : x1 - left]
        return result

    def _tile(self, page: tifffile.TiffPage, index: int) -> NDArray[np.generic] | None:
        if index >= len(page.databytecounts) or page.databytecounts[index] == 0:
            return None
        handle = page.parent.filehandle
        handle.seek(page.dataoffsets[index])
        data = handle.read(page.databytecounts[index])
        segment, _, _ = self._page.decode(data, index, jpegtables=page.jpegtables)
        return None if segment is None else np.asarray(segment)[0]


def _channel_pages(path: Path, level: tifffile.TiffPageSeries) -> list[tifffile.TiffPage]:
    """Return the pages that are the channels of one plane: the first z and the first time."""
    axes, shape = level.axes, level.shape
    page_axes = [(axis, length) for axis, length in zip(axes, shape, strict=True) if axis not in "YXS"]
    stride, count, step = 1, 1, 1
    for axis, length in reversed(page_axes):
        if axis in "CIQ":
            count, step = length, stride
        stride *= length
    found = [level.pages[index * step] for index in range(min(count, 3)) if index * step < len(level.pages)]
    pages = [page.aspage() for page in found if page is not None]
    if not pages or len(pages) != len(found):
        raise SlideError(f"{path} has axes {axes} of {shape}, which cannot be shown as a picture")
    # Blue first: see `TiffReader`.
    return pages[::-1] if len(pages) == 3 else pages


def _channels_last(page: tifffile.TiffPage, pixels: NDArray[np.generic]) -> NDArray[np.generic]:
    if pixels.ndim == 2:
        return pixels[..., None]
    if int(page.planarconfig) == 2 and pixels.shape[0] == page.samplesperpixel:
        return np.moveaxis(pixels, 0, -1)
    return pixels
