"""One interface to every slide format."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.core.errors import SlideError

Rgb = tuple[int, int, int]
Backend = Literal["auto", "native", "openslide", "tifffile", "image"]

NATIVE_SUFFIXES = frozenset({".svs", ".tif", ".tiff"})
IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".jp2"})

_WHITE: Rgb = (255, 255, 255)
# A border darker than this is the slide's own dark background, not glass.
_DARK_BORDER = 60


class BadRegionError(SlideError):
    """A part of a slide that cannot be decoded; other parts may be fine."""


@dataclass(frozen=True)
class Level:
    """One resolution of a slide.

    Attributes
    ----------
    size
        (width, height), pixels of this level.
    downsample
        Level-0 pixels per pixel of this level.
    """

    size: tuple[int, int]
    downsample: float


class SlideReader(Protocol):
    """A slide that is open for reading.

    Attributes
    ----------
    path
        The file (of a multi-file DICOM slide: the folder).
    backend
        Which library decodes it.
    mpp
        Micrometres per level-0 pixel, or None if the slide does not say.
    levels
        Finest first.
    merges_reads
        Whether one large read is cheaper than several small ones (readers that keep decoded tiles need none).
    """

    path: Path
    backend: str
    mpp: float | None
    levels: tuple[Level, ...]
    merges_reads: bool

    @property
    def background(self) -> Rgb:
        """Colour of what lies outside the slide or was never scanned."""
        ...

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return (height, width, 3) uint8 RGB at pixel (x, y) of `level`; what is outside has `background`.

        Raises
        ------
        BadRegionError
            If the file is damaged there. The reader stays usable.
        """
        ...

    def read_once(self, level: int, x: int, y: int, target: NDArray[np.uint8]) -> bool:
        """Decode the stored tile that is exactly this region into `target`, if there is one; tell whether.

        For regions that are read once and share no tile: nothing is kept and nothing copied.

        Raises
        ------
        BadRegionError
            If the file is damaged there.
        """
        ...

    def close(self) -> None:
        """Give the file back."""
        ...

    def __enter__(self) -> SlideReader: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class BaseReader(AbstractContextManager["BaseReader"]):
    """What the readers share: closing, and the colour of nothing."""

    path: Path
    backend: str
    mpp: float | None
    levels: tuple[Level, ...]
    merges_reads = True
    _background: Rgb | None = None

    @property
    def background(self) -> Rgb:
        """Colour of what lies outside the slide: what the slide says, else dark or white like its border."""
        if self._background is None:
            self._background = _WHITE  # while the border itself is read
            self._background = border_background(self)
        return self._background

    @abstractmethod
    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """See `SlideReader.read`."""

    def read_once(self, level: int, x: int, y: int, target: NDArray[np.uint8]) -> bool:
        """See `SlideReader.read_once`."""
        return False

    def close(self) -> None:
        """Give the file back."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def border_background(reader: SlideReader) -> Rgb:
    """Return white, or the colour of the slide's border if that is dark (fluorescence, masked exports)."""
    level = len(reader.levels) - 1
    width, height = reader.levels[level].size
    side = min(32, width, height)
    places = [(x, y) for x in (0, (width - side) // 2, width - side) for y in (0, (height - side) // 2, height - side)]
    places.remove(((width - side) // 2, (height - side) // 2))
    colours = []
    for x, y in places:
        try:
            colours.append(reader.read(level, x, y, side, side).reshape(-1, 3))
        except BadRegionError:
            continue
    if not colours:
        return _WHITE
    median = np.median(np.concatenate(colours), axis=0)
    if median.max() >= _DARK_BORDER:
        return _WHITE
    red, green, blue = (int(value) for value in median)
    return (red, green, blue)


def filled(width: int, height: int, colour: Rgb) -> NDArray[np.uint8]:
    """Return a (height, width, 3) uint8 picture of one colour."""
    picture = np.empty((height, width, 3), dtype=np.uint8)
    picture[:] = colour
    return picture


def open_slide(path: Path, backend: Backend = "auto") -> SlideReader:
    """Open a slide.

    Parameters
    ----------
    path
        A slide file, a plain image, or the folder of a multi-file DICOM slide.
    backend
        ``auto`` takes the fastest reader that reads this slide right; the others insist on one.

    Raises
    ------
    SlideError
        If no reader can open it, saying why.
    """
    if not path.exists():
        raise SlideError(f"{path} does not exist")
    # Imported here: this module is the interface that the readers themselves import.
    from wsi2dmamba.slides.image_reader import ImageReader
    from wsi2dmamba.slides.native_reader import NativeReader
    from wsi2dmamba.slides.openslide_reader import OpenSlideReader
    from wsi2dmamba.slides.tiff_reader import TiffReader

    readers: dict[str, Callable[[Path], SlideReader]] = {
        "image": ImageReader,
        "native": NativeReader,
        "openslide": OpenSlideReader,
        "tifffile": TiffReader,
    }
    if backend != "auto":
        return readers[backend](path)
    name = path.name.lower()
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageReader(path)
    if name.endswith((".ome.tif", ".ome.tiff")):  # OpenSlide would show their first channel, at one level
        return TiffReader(path)
    if path.is_file() and path.suffix.lower() in NATIVE_SUFFIXES:
        try:
            return NativeReader(path)
        except SlideError:
            pass  # whatever the reason, OpenSlide decides whether this is a slide
    try:
        return OpenSlideReader(path)
    except SlideError:
        if not name.endswith((".tif", ".tiff", ".btf")):
            raise
        return TiffReader(path)
