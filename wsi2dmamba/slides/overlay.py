"""Pictures of what was found: tissue contour and kept patches on the thumbnail."""

from __future__ import annotations

import base64
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.core.errors import InputError
from wsi2dmamba.core.files import atomic_path
from wsi2dmamba.slides.thumbnail import Thumbnail
from wsi2dmamba.slides.tilefile import TileFile
from wsi2dmamba.slides.tissue import Tissue

_SIDE_PX = 1600
_CONTOUR = (20, 160, 40)
_EXCLUDED = (230, 120, 0)
_PATCH = (30, 70, 200)
_PATCH_TINT = 0.12


def overlay_picture(thumbnail: Thumbnail, tissue: Tissue, tiles: TileFile | None) -> NDArray[np.uint8]:
    """Return (h, w, 3) uint8 RGB: patches tinted and outlined blue, tissue contour green, what was kept out orange."""
    height, width = thumbnail.pixels.shape[:2]
    scale = min(1.0, _SIDE_PX / max(height, width))
    shape = (max(round(width * scale), 1), max(round(height * scale), 1))
    resized = cv2.resize(thumbnail.pixels, shape, interpolation=cv2.INTER_AREA)
    picture = np.ascontiguousarray(resized, dtype=np.uint8)
    if tiles is not None:
        _draw_patches(picture, tiles, scale / thumbnail.downsample)
    thickness = max(1, round(max(shape) / 700))
    for mask, colour in ((tissue.excluded, _EXCLUDED), (tissue.mask, _CONTOUR)):
        small = cv2.resize(mask.astype(np.uint8), shape, interpolation=cv2.INTER_NEAREST)
        contours, _ = cv2.findContours(small, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(picture, contours, -1, colour, thickness, cv2.LINE_AA)
    return picture


def shrunk(pixels: NDArray[np.uint8], side: int = _SIDE_PX) -> NDArray[np.uint8]:
    """Return the picture reduced so that its longer side is at most `side`."""
    scale = side / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    shape = (max(round(pixels.shape[1] * scale), 1), max(round(pixels.shape[0] * scale), 1))
    return np.asarray(cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def preview(pixels: NDArray[np.uint8], side: int = 360) -> str:
    """Return a small base64 JPEG of an RGB picture."""
    picture = cv2.cvtColor(shrunk(pixels, side), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])
    return base64.b64encode(data.tobytes()).decode("ascii")


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write (h, w) or (h, w, 3) RGB uint8 as PNG, whole or not at all.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    picture = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 4])
    if not done:
        raise InputError(f"cannot make the picture {path}")
    with atomic_path(path) as partial:
        partial.write_bytes(data.tobytes())


def _draw_patches(picture: NDArray[np.uint8], tiles: TileFile, scale: float) -> None:
    side = tiles.geometry.patch_size_level0
    corners = np.round(tiles.coords * scale).astype(int)
    ends = np.round((tiles.coords + side) * scale).astype(int)
    tint = picture.copy()
    for (left, top), (right, bottom) in zip(corners.tolist(), ends.tolist(), strict=True):
        cv2.rectangle(tint, (left, top), (right - 1, bottom - 1), _PATCH, -1)
    cv2.addWeighted(tint, _PATCH_TINT, picture, 1 - _PATCH_TINT, 0, dst=picture)
    if side * scale >= 4:  # smaller ones would be all outline
        for (left, top), (right, bottom) in zip(corners.tolist(), ends.tolist(), strict=True):
            cv2.rectangle(picture, (left, top), (right, bottom), _PATCH, 1)
