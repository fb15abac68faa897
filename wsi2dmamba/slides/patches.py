"""Patches as pixels: the level they are read from, one by one or many in storage order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.slides.reader import BadRegionError, Level, SlideReader
from wsi2dmamba.slides.tilefile import TileFile, TileGeometry

# A level may be this much coarser than the patch asks for: pyramids of odd sizes have 4.016 where 4 is meant, and
# reading sixteen times the pixels for four thousandths would be absurd.
_LEVEL_TOLERANCE = 0.01

# Neighbouring patches are read together up to this side, for readers that gain from it.
_MERGED_SIDE_PX = 4096


@dataclass(frozen=True)
class PatchSource:
    """Where the pixels of a slide's patches come from.

    Attributes
    ----------
    level
        Index of the next finer (or equal) level.
    downsample
        Level-0 pixels per pixel of that level.
    side
        Patch side in pixels of that level.
    patch_px
        Patch side as delivered.
    """

    level: int
    downsample: float
    side: int
    patch_px: int

    def corner(self, coordinate_level0: int) -> int:
        """Return a level-0 coordinate in pixels of the level."""
        return round(coordinate_level0 / self.downsample)

    def is_edge_to_edge(self, geometry: TileGeometry) -> bool:
        """Tell whether no pixel of the level belongs to two patches."""
        return geometry.lattice.step_level0 / self.downsample >= self.side


@dataclass(frozen=True)
class PatchBatch:
    """Some patches of a slide, in the order of its tile file.

    Attributes
    ----------
    start
        Index of the first one in the tile file.
    patches
        (n, patch_px, patch_px, 3) uint8 RGB; an unreadable one has the background's colour.
    readable
        (n,) bool, False where the slide is damaged.
    """

    start: int
    patches: NDArray[np.uint8]
    readable: NDArray[np.bool_]


def patch_source(levels: Sequence[Level], geometry: TileGeometry) -> PatchSource:
    """Choose the level that patches are read from: the coarsest that is not coarser than they are."""
    scale = geometry.patch_size_level0 / geometry.patch_px
    fitting = [index for index, level in enumerate(levels) if level.downsample <= scale * (1 + _LEVEL_TOLERANCE)]
    level = fitting[-1] if fitting else 0
    downsample = levels[level].downsample
    side = max(1, round(geometry.patch_size_level0 / downsample))
    return PatchSource(level, downsample, side, geometry.patch_px)


def read_patch(reader: SlideReader, x0: int, y0: int, geometry: TileGeometry) -> NDArray[np.uint8]:
    """Return one patch.

    Parameters
    ----------
    reader
        The open slide.
    x0, y0
        Top-left corner, level-0 pixels.
    geometry
        Patch size and resolution.

    Returns
    -------
    ndarray
        (patch_px, patch_px, 3) uint8 RGB.

    Raises
    ------
    BadRegionError
        If the slide is damaged there.
    """
    source = patch_source(reader.levels, geometry)
    pixels = reader.read(source.level, source.corner(x0), source.corner(y0), source.side, source.side)
    return resized(pixels, source.patch_px)


def read_patches(
    reader: SlideReader, geometry: TileGeometry, coords: NDArray[np.integer]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the patches at `coords`, and which of them could be read.

    Parameters
    ----------
    reader
        The open slide.
    geometry
        Patch size and resolution.
    coords
        (n, 2) top-left corners (x, y), level-0 pixels, in lattice order: neighbours are then read together.

    Returns
    -------
    tuple
        (n, patch_px, patch_px, 3) uint8 RGB, and (n,) bool.
    """
    source = patch_source(reader.levels, geometry)
    patches = np.empty((len(coords), source.patch_px, source.patch_px, 3), dtype=np.uint8)
    readable = np.ones(len(coords), dtype=bool)
    # Patches edge to edge may be stored tiles themselves, each needed once.
    once = not reader.merges_reads and source.side == source.patch_px and source.is_edge_to_edge(geometry)
    for first, last in _runs(np.asarray(coords), source, geometry, reader.merges_reads):
        if last - first > 1 and _read_run(reader, source, coords, first, last, patches):
            continue
        for index in range(first, last):
            x, y = source.corner(int(coords[index][0])), source.corner(int(coords[index][1]))
            try:
                if once and reader.read_once(source.level, x, y, patches[index]):
                    continue
                pixels = reader.read(source.level, x, y, source.side, source.side)
            except BadRegionError:
                readable[index] = False
                patches[index] = reader.background
                continue
            _put(pixels, patches[index])
    return patches, readable


def iter_patches(reader: SlideReader, tiles: TileFile, batch_size: int = 256) -> Iterator[PatchBatch]:
    """Yield all patches of a slide in lattice order, `batch_size` at a time.

    Lattice order is nearly the order in which slides are stored, so a reader that keeps the last decoded tiles
    decodes each stored tile once.
    """
    for start in range(0, len(tiles), batch_size):
        patches, readable = read_patches(reader, tiles.geometry, tiles.coords[start : start + batch_size])
        yield PatchBatch(start, patches, readable)


def resized(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return a square picture at another size: reduced by area, enlarged linearly."""
    if pixels.shape[0] == side:
        return pixels
    interpolation = cv2.INTER_AREA if pixels.shape[0] > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, (side, side), interpolation=interpolation), dtype=np.uint8)


def _put(pixels: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
    if pixels.shape == target.shape:
        target[...] = pixels
    else:
        target[...] = resized(pixels, target.shape[0])


def _runs(
    coords: NDArray[np.integer], source: PatchSource, geometry: TileGeometry, merge: bool
) -> Iterator[tuple[int, int]]:
    """Yield [first, last) of consecutive patches side by side in one lattice row."""
    if not merge:
        yield from ((index, index + 1) for index in range(len(coords)))
        return
    step = geometry.lattice.step_level0
    reach = max(_MERGED_SIDE_PX, 2 * source.side)
    first = 0
    for index in range(1, len(coords) + 1):
        if index < len(coords):
            beside = coords[index][1] == coords[index - 1][1] and coords[index][0] - coords[index - 1][0] == step
            width = (coords[index][0] - coords[first][0]) / source.downsample + source.side
            if beside and width <= reach:
                continue
        yield first, index
        first = index


def _read_run(
    reader: SlideReader,
    source: PatchSource,
    coords: NDArray[np.integer],
    first: int,
    last: int,
    patches: NDArray[np.uint8],
) -> bool:
    """Read patches [first, last) as one region; tell whether that went well."""
    lefts = [source.corner(int(x)) for x in coords[first:last, 0]]
    top = source.corner(int(coords[first][1]))
    try:
        strip = reader.read(source.level, lefts[0], top, lefts[-1] + source.side - lefts[0], source.side)
    except BadRegionError:
        return False  # one of them is damaged: they are read one by one
    for index, left in enumerate(lefts, start=first):
        _put(strip[:, left - lefts[0] : left - lefts[0] + source.side], patches[index])
    return True
