"""The stored tiles of a TIFF page, decoded one by one and kept while neighbours need them."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray

from wsi2dmamba.slides.reader import BadRegionError

JPEG = {6, 7}
JPEG2000_YCBCR = {33003, 33004}
JPEG2000_RGB = {33005, 34712}
FAST_COMPRESSIONS = JPEG | JPEG2000_YCBCR | JPEG2000_RGB

# What the TIFF tag says about the colours inside the JPEG.
PHOTOMETRICS = {2: "RGB", 6: "YCBCR"}

# Decoded tiles are kept up to this many bytes, or as many as a band of patches across the slide needs.
_CACHE_LEAST_BYTES = 64 << 20
_CACHE_MOST_BYTES = 768 << 20


class TileCache:
    """Decoded tiles, the least recently used dropped first."""

    def __init__(self) -> None:
        self._tiles: OrderedDict[tuple[int, int], NDArray[np.uint8]] = OrderedDict()
        self._bytes = 0
        self.limit = _CACHE_LEAST_BYTES
        self.decoded = 0

    def reserve(self, wanted: int) -> None:
        """Make room for `wanted` bytes, within reason."""
        self.limit = max(self.limit, min(wanted, _CACHE_MOST_BYTES))

    def get(self, key: tuple[int, int]) -> NDArray[np.uint8] | None:
        """Return a kept tile."""
        tile = self._tiles.get(key)
        if tile is not None:
            self._tiles.move_to_end(key)
        return tile

    def put(self, key: tuple[int, int], tile: NDArray[np.uint8]) -> None:
        """Keep a tile that was just decoded."""
        self.decoded += 1
        self._tiles[key] = tile
        self._bytes += tile.nbytes
        while self._bytes > self.limit and len(self._tiles) > 1:
            _, dropped = self._tiles.popitem(last=False)
            self._bytes -= dropped.nbytes

    def clear(self) -> None:
        """Forget everything."""
        self._tiles.clear()
        self._bytes = 0


class StoredTiles:
    """One tiled page of a TIFF.

    Parameters
    ----------
    path
        For messages.
    page
        The page; its file must stay open.
    key
        Number of the page in the cache.
    cache
        Shared by the pages of a slide.
    size
        (width, height) that counts, pixels; what the page has beyond it is padding.

    Attributes
    ----------
    missing
        Whether some tiles were never stored.
    """

    def __init__(self, path: Path, page: tifffile.TiffPage, key: int, cache: TileCache, size: tuple[int, int]) -> None:
        self._path = path
        self._page = page
        self._key = key
        self._cache = cache
        self.width, self.height = size
        self.tile_width, self.tile_height = int(page.tilewidth), int(page.tilelength)
        self.across = -(-int(page.imagewidth) // self.tile_width)
        self.down = -(-int(page.imagelength) // self.tile_height)
        self._compression = int(page.compression)
        self._offsets = page.dataoffsets
        self._lengths = page.databytecounts
        self._tables = page.jpegtables
        self._colorspace = PHOTOMETRICS.get(int(page.photometric))
        self.missing = len(self._lengths) < self.across * self.down or 0 in self._lengths
        self._row_bytes = self.across * self.tile_width * self.tile_height * 3

    def paste(self, x: int, y: int, picture: NDArray[np.uint8]) -> None:
        """Copy the region at (x, y) of the size of `picture` into it, as far as it lies inside the page.

        Tiles that were never stored leave it as it is.

        Raises
        ------
        BadRegionError
            If a tile cannot be decoded.
        """
        height, width = picture.shape[:2]
        right, bottom = min(x + width, self.width), min(y + height, self.height)
        left, top = max(x, 0), max(y, 0)
        # One row of patches needs the tile rows it touches until the next row of patches has read the last of them.
        self._cache.reserve((-(-height // self.tile_height) + 2) * self._row_bytes)
        for row in range(top // self.tile_height, -(-bottom // self.tile_height)):
            tile_top = row * self.tile_height
            y0, y1 = max(top, tile_top), min(bottom, tile_top + self.tile_height)
            for column in range(left // self.tile_width, -(-right // self.tile_width)):
                tile = self.tile(row * self.across + column)
                if tile is None:
                    continue
                tile_left = column * self.tile_width
                x0, x1 = max(left, tile_left), min(right, tile_left + self.tile_width)
                part = tile[y0 - tile_top : y1 - tile_top, x0 - tile_left : x1 - tile_left]
                picture[y0 - y : y1 - y, x0 - x : x1 - x] = part

    def whole_tile(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8] | None:
        """Return the tile that is exactly this region, if there is one: nothing needs to be copied."""
        index = self._tile_at(x, y, width, height)
        if index is None:
            return None
        self._cache.reserve(2 * self._row_bytes)
        return self.tile(index)

    def decode_into(self, x: int, y: int, target: NDArray[np.uint8]) -> bool:
        """Decode the tile that is exactly this region into `target`, if there is one; tell whether.

        Raises
        ------
        BadRegionError
            If it cannot be decoded.
        """
        index = self._tile_at(x, y, target.shape[1], target.shape[0])
        data = None if index is None or self._compression not in JPEG else self.stored(index)
        if index is None or data is None:
            return False
        try:
            self._decode_jpeg(data, target)
        except (ValueError, RuntimeError, TypeError) as error:
            raise self._bad(index, " ".join(str(error).split())) from error
        self._cache.decoded += 1
        return True

    def _tile_at(self, x: int, y: int, width: int, height: int) -> int | None:
        if (width, height) != (self.tile_width, self.tile_height) or x % width or y % height:
            return None
        if x < 0 or y < 0 or x + width > self.width or y + height > self.height:
            return None
        return (y // height) * self.across + x // width

    def tile(self, index: int) -> NDArray[np.uint8] | None:
        """Return a decoded tile, (tile_height, tile_width, 3) uint8, not to be written to; None if never stored.

        Raises
        ------
        BadRegionError
            If it cannot be decoded.
        """
        key = (self._key, index)
        tile = self._cache.get(key)
        if tile is None:
            data = self.stored(index)
            if data is None:
                return None
            tile = self._decoded(data, index)
            self._cache.put(key, tile)
        return tile

    def stored(self, index: int) -> bytes | None:
        """Return the compressed bytes of a tile, or None if it was never stored.

        Raises
        ------
        BadRegionError
            If the file ends before them.
        """
        if index >= len(self._lengths) or self._lengths[index] == 0:
            return None
        length = int(self._lengths[index])
        data = os.pread(self._page.parent.filehandle.fileno(), length, int(self._offsets[index]))
        if len(data) < length:
            raise self._bad(index, "the file ends before it")
        return data

    def _decoded(self, data: bytes, index: int) -> NDArray[np.uint8]:
        try:
            pixels = self.decode(data, index)
        except (imagecodecs.DelayedImportError, MemoryError):
            raise
        except (ValueError, RuntimeError, TypeError, OSError) as error:
            raise self._bad(index, " ".join(str(error).split())) from error
        if pixels.shape != (self.tile_height, self.tile_width, 3):
            raise self._bad(index, f"it decodes to {pixels.shape}")
        return pixels

    def decode(self, data: bytes, index: int) -> NDArray[np.uint8]:
        """Return the pixels of a tile's compressed bytes."""
        if self._compression in JPEG:
            return self._decode_jpeg(data)
        if self._compression in JPEG2000_RGB:
            return np.asarray(imagecodecs.jpeg2k_decode(data))
        if self._compression in JPEG2000_YCBCR:
            return _rgb_of_ycbcr(np.asarray(imagecodecs.jpeg2k_decode(data)))
        raise ValueError(f"compression {self._compression} is not decoded here")

    def _decode_jpeg(self, data: bytes, out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        pixels = imagecodecs.jpeg8_decode(
            data, tables=self._tables, colorspace=self._colorspace, outcolorspace="RGB", out=out
        )
        return np.asarray(pixels)

    def _bad(self, index: int, reason: str) -> BadRegionError:
        x, y = (index % self.across) * self.tile_width, (index // self.across) * self.tile_height
        return BadRegionError(
            f"{self._path} cannot be read: the stored tile at pixel ({x}, {y}) of a level of "
            f"{self.width}x{self.height} is damaged ({reason})"
        )


def _rgb_of_ycbcr(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return RGB of full-range YCbCr (JFIF's equations, ITU-T T.871), which Aperio stores in its JPEG 2000 tiles."""
    luma, blue, red = (pixels[..., channel].astype(np.float32) for channel in range(3))
    blue -= 128
    red -= 128
    rgb = np.stack([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue], axis=-1)
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)
