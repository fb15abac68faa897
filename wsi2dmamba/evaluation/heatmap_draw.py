"""Heatmaps over the thumbnail, aligned to the pixel, and the patches that score highest."""

from __future__ import annotations

import cv2
import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.evaluation.bootstrap import Floats
from wsi2dmamba.evaluation.heatmap import PatchScores
from wsi2dmamba.slides.reader import SlideReader
from wsi2dmamba.slides.thumbnail import Thumbnail

Picture = NDArray[np.uint8]
_COLOURS = {"attention": "inferno", "contribution": "RdBu_r", "influence": "RdBu_r"}
_MARGIN_PX = 6
_SHOWN_PX = 192


def patch_boxes(scores: PatchScores, downsample: float, size: tuple[int, int]) -> NDArray[np.int64]:
    """Return (N, 4) boxes (left, top, right, bottom) of the patches on a picture of `size` (width, height).

    Edges are rounded, not widths: neighbouring patches share an edge and no pixel is left between them.
    """
    side = scores.tiles.geometry.patch_size_level0
    corners = scores.tiles.coords.astype(np.float64)
    edges = np.rint(np.concatenate([corners, corners + side], axis=1) / downsample).astype(np.int64)
    return np.clip(edges, 0, np.asarray([*size, *size]))


def colours(scores: PatchScores, name: str) -> Floats:
    """Return (N, 3) RGB in 0..1.

    Attention is coloured by rank, since a few patches hold most of it. Contribution and influence keep their sign:
    red speaks for the target, blue against it, the palest is zero. Colour grows with the square root of their size,
    up to its 99th percentile: one patch that outweighs all others does not make them invisible.
    """
    if name == "attention":
        level = scores.rank(name)
    else:
        values = scores.values(name)
        full = max(float(np.quantile(np.abs(values), 0.99)), 1e-12)
        level = 0.5 + 0.5 * np.sign(values) * np.sqrt(np.minimum(np.abs(values) / full, 1.0))
    return np.asarray(mpl.colormaps[_COLOURS[name]](level)[:, :3], dtype=np.float64)


def overlay(scores: PatchScores, name: str, thumbnail: Thumbnail, opacity: float = 0.55) -> Picture:
    """Return the thumbnail with every patch coloured; where patches overlap their colours are averaged.

    Parameters
    ----------
    scores
        What to show.
    name
        ``attention``, ``contribution`` or ``influence``.
    thumbnail
        The slide.
    opacity
        Of the colours, 0 to 1.

    Returns
    -------
    ndarray
        (height, width, 3) uint8, the thumbnail's own size: pixel (x, y) is level-0 pixel (x, y) · downsample.
    """
    height, width = thumbnail.pixels.shape[:2]
    total = np.zeros((height, width, 3))
    count = np.zeros((height, width, 1))
    boxes = patch_boxes(scores, thumbnail.downsample, (width, height))
    for (left, top, right, bottom), colour in zip(boxes, colours(scores, name), strict=True):
        total[top:bottom, left:right] += colour
        count[top:bottom, left:right] += 1
    heat = total / np.maximum(count, 1)
    weight = opacity * (count > 0)
    picture = (1 - weight) * thumbnail.pixels + weight * 255.0 * heat
    return np.asarray(np.rint(picture), dtype=np.uint8)


def top_patches(scores: PatchScores, name: str, count: int) -> NDArray[np.int64]:
    """Return the numbers of the `count` patches with the highest scores, highest first."""
    return np.argsort(-scores.values(name), kind="stable")[:count].astype(np.int64)


def montage(scores: PatchScores, numbers: NDArray[np.int64], reader: SlideReader, columns: int = 6) -> Picture:
    """Return the patches `numbers` side by side, row by row, as the slide shows them at level 0."""
    side = scores.tiles.geometry.patch_size_level0
    columns = min(columns, max(len(numbers), 1))
    rows = -(-len(numbers) // columns)
    pitch = _SHOWN_PX + _MARGIN_PX
    sheet = np.full((rows * pitch + _MARGIN_PX, columns * pitch + _MARGIN_PX, 3), 255, dtype=np.uint8)
    for place, number in enumerate(numbers):
        x, y = (int(value) for value in scores.tiles.coords[number])
        patch = reader.read(0, x, y, side, side)
        top, left = _MARGIN_PX + place // columns * pitch, _MARGIN_PX + place % columns * pitch
        sheet[top : top + _SHOWN_PX, left : left + _SHOWN_PX] = cv2.resize(
            patch, (_SHOWN_PX, _SHOWN_PX), interpolation=cv2.INTER_AREA
        )
    return sheet


def colour_bar(name: str, target: str) -> str:
    """Return in words what the colours of `overlay` mean."""
    if name == "attention":
        return "attention by rank: dark = least, bright = most attended"
    what = {"contribution": f"contribution to the {target}", "influence": f"what the {target} owes to the patch"}
    return f"{what[name]}: red = for, blue = against"
