"""The fast path: JPEG- and JPEG 2000-tiled TIFF slides, their stored tiles decoded directly, each once.

OpenSlide says what the slide is (levels, resolution); the pixels come from imagecodecs (libjpeg-turbo, OpenJPEG).
A slide is only read this way after sample tiles of every level came out as OpenSlide gives them.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

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

# Decoders round differently.
TOLERANCE_GREY_LEVELS = 2
_SAMPLES = 3


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

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """See `SlideReader.read`. A region that is one stored tile is not copied: do not write to it."""
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

    def read_once(self, level: int, x: int, y: int, target: NDArray[np.uint8]) -> bool:
        """See `SlideReader.read_once`."""
        return self.pages[level].decode_into(x, y, target)

    def close(self) -> None:
        """Give the file back."""
        if self._tiff is not None:
            self._tiff.close()
            self._tiff = None
        self.cache.clear()
        super().close()

    def _find_pages(self) -> list[StoredTiles]:
        if self.vendor not in _VENDORS:
            raise SlideError(f"{self.path} is {self.vendor}, which the native reader does not read")
        try:
            self._tiff = tifffile.TiffFile(self.path)
            tiled = [page for page in self._tiff.pages if isinstance(page, tifffile.TiffPage) and page.is_tiled]
        except (tifffile.TiffFileError, OSError, ValueError) as error:
            raise SlideError(f"{self.path} is no TIFF that can be read natively: {error}") from error
        pages = []
        for index, level in enumerate(self.levels):
            fitting = [page for page in tiled if (page.imagewidth, page.imagelength) == level.size and _plain(page)]
            if len(fitting) != 1:
                raise SlideError(f"{self.path} has {len(fitting)} JPEG-tiled pages of {level.size}, not one")
            stored = StoredTiles(self.path, fitting[0], index, self.cache)
            if stored.missing and self.vendor not in _VENDORS_WITH_MISSING_TILES:
                raise SlideError(f"{self.path} lacks tiles, which only OpenSlide knows how to fill")
            pages.append(stored)
        return pages

    def _agree_with_openslide(self) -> None:
        for level, page in enumerate(self.pages):
            compared = sum(self._agrees(level, page, index) for index in _sample_tiles(page))
            if level == 0 and compared == 0:
                raise SlideError(f"{self.path} has no tile that both readers can decode")

    def _agrees(self, level: int, page: StoredTiles, index: int) -> bool:
        x, y = (index % page.across) * page.tile_width, (index // page.across) * page.tile_height
        if not float(self.levels[level].downsample).is_integer():
            x, y = 0, 0  # the one place where OpenSlide's level-0 coordinates hit a pixel of the level exactly
        width, height = min(page.tile_width, page.width - x), min(page.tile_height, page.height - y)
        with suppress(BadRegionError):
            ours = self.read(level, x, y, width, height)
            theirs = super().read(level, x, y, width, height)
            difference = int(np.abs(ours.astype(np.int16) - theirs).max())
            if difference > TOLERANCE_GREY_LEVELS:
                raise SlideError(f"{self.path} decodes {difference} grey levels off from OpenSlide")
            return True
        return False


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
    row = (page.down // 2) * page.across
    return sorted({row + page.across * part // (_SAMPLES + 1) for part in range(1, _SAMPLES + 1)})
