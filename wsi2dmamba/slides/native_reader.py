"""The fast path: JPEG- and JPEG 2000-tiled TIFF slides, their stored tiles decoded directly, each once.

OpenSlide says what the slide is (levels, resolution); the pixels come from imagecodecs (libjpeg-turbo, OpenJPEG).
A slide is only read this way after sample tiles of every level came out as OpenSlide gives them.

OpenSlide takes whole level-0 pixels. Where a level's downsample is no whole number (4.0003: a width that 4 does not
divide) hardly any of them falls on a pixel of the level, and OpenSlide interpolates between neighbours
(openslide/openslide#417). The same is done here, so that features do not depend on the reader. OpenSlide adds up what
each stored tile contributes in 8 bits: single pixels where four tiles meet come out up to four grey levels otherwise.
"""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from wsi2dmamba.core.errors import SlideError
from wsi2dmamba.slides.openslide_reader import OpenSlideReader
from wsi2dmamba.slides.reader import BadRegionError, filled
from wsi2dmamba.slides.tiff_tiles import FAST_COMPRESSIONS, PHOTOMETRICS, StoredTiles, TileCache

# Formats whose tiles lie edge to edge in one page per level.
_VENDORS = frozenset({"aperio", "generic-tiff", "philips"})
# Only this one says what a tile that was never stored looks like: background.
_VENDORS_WITH_MISSING_TILES = frozenset({"philips"})
# Its pages are filled up to whole tiles; OpenSlide knows the true sizes and takes the pages in the file's order.
_VENDORS_WITH_PADDED_PAGES = frozenset({"philips"})

# Decoders round differently.
TOLERANCE_GREY_LEVELS = 2
_SAMPLES = 3

# A region this little off the pixels of its level changes no grey level when it is interpolated.
_NEGLIGIBLE_SHIFT_PX = 1 / 512


class NativeReader(OpenSlideReader):
    """A tiled TIFF slide read without OpenSlide's decoder.

    Parameters
    ----------
    path
        The slide file.

    Raises
    ------
    SlideError
        If OpenSlide refuses the slide, or it is not one that this reader reads as OpenSlide does.
    """

    backend = "native"
    merges_reads = False

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._tiff: tifffile.TiffFile | None = None
        self.cache = TileCache()
        try:
            self.pages = self._find_pages()
            self._agree_with_openslide()
        except BaseException:
            self.close()
            raise

    def read_once(self, level: int, x: int, y: int, target: NDArray[np.uint8]) -> bool:
        """See `SlideReader.read_once`."""
        return self._shift(level, x, y) is None and self.pages[level].decode_into(x, y, target)

    def close(self) -> None:
        """Give the file back."""
        if self._tiff is not None:
            self._tiff.close()
            self._tiff = None
        self.cache.clear()
        super().close()

    def _read_inside(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return a region that lies inside the level. If it is one stored tile it is not copied: do not write to it."""
        shift = self._shift(level, x, y)
        if shift is None:
            return self._stored(level, x, y, width, height)
        left, top = math.floor(shift[0]), math.floor(shift[1])
        picture = self._stored(level, x + left, y + top, width + 1, height + 1)
        return _interpolated(picture, shift[0] - left, shift[1] - top)

    def _shift(self, level: int, x: int, y: int) -> tuple[float, float] | None:
        """Return how far OpenSlide's nearest level-0 pixel is from pixel (x, y) of the level; None if it is on it."""
        downsample = self.levels[level].downsample
        if downsample.is_integer():
            return None
        across, along = (round(place * downsample) / downsample - place for place in (x, y))
        return None if max(abs(across), abs(along)) < _NEGLIGIBLE_SHIFT_PX else (across, along)

    def _stored(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        page = self.pages[level]
        tile = page.whole_tile(x, y, width, height)
        if tile is not None:
            return tile
        inside = min(x, y) >= 0 and x + width <= page.width and y + height <= page.height
        if inside and not page.missing:
            picture = np.empty((height, width, 3), dtype=np.uint8)
        else:
            picture = filled(width, height, self.background)
        page.paste(x, y, picture)
        return picture

    def _find_pages(self) -> list[StoredTiles]:
        if self.vendor not in _VENDORS:
            raise SlideError(f"{self.path} is {self.vendor}, which the native reader does not read")
        try:
            self._tiff = tifffile.TiffFile(self.path)
            tiled = [page for page in self._tiff.pages if isinstance(page, tifffile.TiffPage) and page.is_tiled]
        except (tifffile.TiffFileError, OSError, ValueError) as error:
            raise SlideError(f"{self.path} is no TIFF that can be read natively: {error}") from error
        pages = []
        for index, page in enumerate(self._pages_of_levels(tiled)):
            stored = StoredTiles(self.path, page, index, self.cache, self.levels[index].size)
            if stored.missing and self.vendor not in _VENDORS_WITH_MISSING_TILES:
                raise SlideError(f"{self.path} lacks tiles, which only OpenSlide knows how to fill")
            pages.append(stored)
        return pages

    def _pages_of_levels(self, tiled: list[tifffile.TiffPage]) -> list[tifffile.TiffPage]:
        if self.vendor in _VENDORS_WITH_PADDED_PAGES:
            pages = tiled
        else:
            of_size = [[page for page in tiled if _size(page) == level.size] for level in self.levels]
            pages = [pages[0] for pages in of_size if len(pages) == 1]
        large_enough = all(
            page_side >= side
            for page, level in zip(pages, self.levels, strict=False)
            for page_side, side in zip(_size(page), level.size, strict=True)
        )
        if len(pages) != len(self.levels) or not large_enough or not all(map(_plain, pages)):
            raise SlideError(f"{self.path} has no JPEG-tiled page for every level")
        return pages

    def _agree_with_openslide(self) -> None:
        for level, page in enumerate(self.pages):
            compared = sum(self._agrees(level, page, index) for index in _sample_tiles(page))
            if level == 0 and compared == 0:
                raise SlideError(f"{self.path} has no tile that both readers can decode")

    def _agrees(self, level: int, page: StoredTiles, index: int) -> bool:
        x, y = (index % page.across) * page.tile_width, (index // page.across) * page.tile_height
        width, height = min(page.tile_width, page.width - x), min(page.tile_height, page.height - y)
        if not self.levels[level].downsample.is_integer() and min(width, height) > 2:
            x, y, width, height = x + 1, y + 1, width - 2, height - 2  # without the pixels where tiles meet
        with suppress(BadRegionError):
            ours = self._read_inside(level, x, y, width, height)
            theirs = super()._read_inside(level, x, y, width, height)
            difference = int(np.abs(ours.astype(np.int16) - theirs).max())
            if difference > TOLERANCE_GREY_LEVELS:
                raise SlideError(f"{self.path} decodes {difference} grey levels off from OpenSlide")
            return True
        return False


def _interpolated(picture: NDArray[np.uint8], right: float, down: float) -> NDArray[np.uint8]:
    """Return (h, w, 3) bilinear values that far (0 to 1) right of and below the pixels of an (h + 1, w + 1, 3) one."""
    weights = np.outer([1 - down, down], [1 - right, right]).astype(np.float32)
    values = cv2.filter2D(picture, -1, weights, anchor=(0, 0), borderType=cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(values[:-1, :-1], dtype=np.uint8)


def _size(page: tifffile.TiffPage) -> tuple[int, int]:
    return int(page.imagewidth), int(page.imagelength)


def _plain(page: tifffile.TiffPage) -> bool:
    return (
        int(page.compression) in FAST_COMPRESSIONS
        and int(page.photometric) in PHOTOMETRICS
        and page.samplesperpixel == 3
        and page.bitspersample == 8
        and int(page.planarconfig) == 1
    )


def _sample_tiles(page: StoredTiles) -> list[int]:
    """Return a few tiles where slides mostly have tissue: along the middle row."""
    across, down = -(-page.width // page.tile_width), -(-page.height // page.tile_height)
    row = (down // 2) * page.across
    return sorted({row + across * part // (_SAMPLES + 1) for part in range(1, _SAMPLES + 1)})
