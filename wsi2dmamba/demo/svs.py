"""Pyramidal, JPEG-tiled slides in Aperio's SVS layout, written without holding level 0 in memory.

The layout is what OpenSlide's `aperio` reader looks for: a tiled first page whose description starts with "Aperio",
an untiled thumbnail, then one tiled page per lower level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray

from wsi2dmamba.core.errors import InputError
from wsi2dmamba.core.files import atomic_path

RegionSource = Callable[[int, int, int, int], NDArray[np.uint8]]
"""`source(x, y, width, height)` returns that region of level 0 as (height, width, 3) uint8 RGB."""

_THUMBNAIL_SIDE_PX = 512


@dataclass(frozen=True)
class SvsLayout:
    """How a slide is stored.

    Attributes
    ----------
    mpp
        Micrometres per pixel of level 0; None leaves it out, as some scanners do.
    magnification
        What the description calls AppMag.
    tile_px
        Side of the JPEG tiles.
    quality
        JPEG quality, 1 to 100.
    downsamples
        Factor of each lower level to the one above it; Aperio uses 4.
    """

    mpp: float | None = 0.5
    magnification: float | None = 20
    tile_px: int = 256
    quality: int = 85
    downsamples: tuple[int, ...] = (4, 2)


def region_source(image: NDArray[np.uint8]) -> RegionSource:
    """Return a source that serves regions of a (height, width, 3) array."""

    def region(x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        return image[y : y + height, x : x + width]

    return region


def write_svs(path: Path, size: tuple[int, int], source: RegionSource, layout: SvsLayout | None = None) -> None:
    """Write a slide, whole or not at all.

    Parameters
    ----------
    path
        Where to; the name should end in ``.svs``.
    size
        (width, height) of level 0, pixels.
    source
        Called once per tile of level 0, in row-major order; never for a pixel outside the slide.
    layout
        Resolution, tile size and levels.

    Raises
    ------
    InputError
        If a level would have no pixel, or the tiles do not divide into the first lower level's pixels.
    """
    layout = layout or SvsLayout()
    width, height = size
    if layout.downsamples and layout.tile_px % layout.downsamples[0]:
        raise InputError(
            f"tiles of {layout.tile_px} pixels do not divide by {layout.downsamples[0]}; take another side"
        )
    if min(width, height) < np.prod(layout.downsamples, dtype=int):
        raise InputError(f"{path.name}: {width}x{height} pixels are too few for downsamples {layout.downsamples}")
    with atomic_path(path) as partial, tifffile.TiffWriter(partial, bigtiff=False) as tiff:
        reduced = _ReducedLevel(size, layout.downsamples[0] if layout.downsamples else 1)
        _write_tiled(tiff, size, _level0_tiles(size, source, layout.tile_px, reduced), layout, size, first=True)
        _write_thumbnail(tiff, reduced.image, layout, size)
        level = reduced.image
        for index in range(len(layout.downsamples)):
            if index > 0:
                level = _shrink(level, layout.downsamples[index])
            level_size = (level.shape[1], level.shape[0])
            _write_tiled(tiff, level_size, _array_tiles(level, layout.tile_px), layout, size, first=False)


class _ReducedLevel:
    """The level under level 0, filled in tile by tile while level 0 passes by."""

    def __init__(self, size: tuple[int, int], factor: int) -> None:
        self.factor = factor
        self.image = np.full((size[1] // factor, size[0] // factor, 3), 255, dtype=np.uint8)

    def add(self, x: int, y: int, tile: NDArray[np.uint8]) -> None:
        small = _shrink(tile, self.factor)
        top, left = y // self.factor, x // self.factor
        target = self.image[top : top + small.shape[0], left : left + small.shape[1]]
        target[:] = small[: target.shape[0], : target.shape[1]]


def _shrink(image: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    shape = (max(image.shape[1] // factor, 1), max(image.shape[0] // factor, 1))
    whole = image[: shape[1] * factor, : shape[0] * factor]
    return np.asarray(cv2.resize(whole, shape, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _level0_tiles(
    size: tuple[int, int], source: RegionSource, tile_px: int, reduced: _ReducedLevel
) -> Iterator[NDArray[np.uint8]]:
    for x, y in _tile_corners(size, tile_px):
        tile = np.asarray(source(x, y, min(tile_px, size[0] - x), min(tile_px, size[1] - y)), dtype=np.uint8)
        reduced.add(x, y, tile)
        yield _fill_tile(tile, tile_px)


def _array_tiles(image: NDArray[np.uint8], tile_px: int) -> Iterator[NDArray[np.uint8]]:
    for x, y in _tile_corners((image.shape[1], image.shape[0]), tile_px):
        yield _fill_tile(image[y : y + tile_px, x : x + tile_px], tile_px)


def _tile_corners(size: tuple[int, int], tile_px: int) -> Iterator[tuple[int, int]]:
    for y in range(0, size[1], tile_px):
        for x in range(0, size[0], tile_px):
            yield x, y


def _fill_tile(tile: NDArray[np.uint8], tile_px: int) -> NDArray[np.uint8]:
    missing = (tile_px - tile.shape[0], tile_px - tile.shape[1])
    if missing == (0, 0):
        return np.ascontiguousarray(tile)
    return np.pad(tile, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")


def _write_tiled(
    tiff: tifffile.TiffWriter,
    size: tuple[int, int],
    tiles: Iterator[NDArray[np.uint8]],
    layout: SvsLayout,
    level0_size: tuple[int, int],
    *,
    first: bool,
) -> None:
    tiff.write(
        tiles,
        shape=(size[1], size[0], 3),
        dtype=np.uint8,
        tile=(layout.tile_px, layout.tile_px),
        photometric="rgb",
        subsampling=(2, 2),
        compression="jpeg",
        compressionargs={"level": layout.quality},
        description=_description(level0_size, size, layout, first=first),
        subfiletype=0 if first else 1,
        metadata=None,
        software=False,
        maxworkers=1,
    )


def _write_thumbnail(
    tiff: tifffile.TiffWriter, level: NDArray[np.uint8], layout: SvsLayout, level0_size: tuple[int, int]
) -> None:
    scale = min(1.0, _THUMBNAIL_SIDE_PX / max(level.shape[:2]))
    shape = (max(round(level.shape[1] * scale), 1), max(round(level.shape[0] * scale), 1))
    thumbnail = cv2.resize(level, shape, interpolation=cv2.INTER_AREA)
    tiff.write(
        thumbnail,
        photometric="rgb",
        compression="jpeg",
        compressionargs={"level": layout.quality},
        description=_description(level0_size, shape, layout, first=False),
        metadata=None,
        software=False,
        maxworkers=1,
    )


def _description(level0_size: tuple[int, int], size: tuple[int, int], layout: SvsLayout, *, first: bool) -> str:
    """Return Aperio's description: a header line, the sizes, then `|key = value` pairs."""
    arrow = "" if first else f" -> {size[0]}x{size[1]}"
    head = (
        "Aperio Image Library v12.0.16 (wsi2dmamba demo)\r\n"
        f"{level0_size[0]}x{level0_size[1]} [0,0 {level0_size[0]}x{level0_size[1]}] "
        f"({layout.tile_px}x{layout.tile_px}){arrow} JPEG/RGB Q={layout.quality}"
    )
    pairs = []
    if layout.magnification is not None:
        pairs.append(f"AppMag = {layout.magnification:g}")
    if layout.mpp is not None:
        pairs.append(f"MPP = {layout.mpp:g}")
    return "|".join([head, *pairs])
