"""A DICOM whole-slide series written byte by byte (PS3.5, explicit little endian): one JPEG-tiled file per level."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np

_WHOLE_SLIDE_STORAGE = b"1.2.840.10008.5.1.4.1.1.77.1.6"
_JPEG_BASELINE = b"1.2.840.10008.1.2.4.50"
_LONG = (b"OB", b"SQ")


def write_dicom_slide(folder: Path, image: np.ndarray, *, mpp: float = 0.5, factors: tuple[int, ...] = (1, 4)) -> Path:
    """Write (height, width, 3) uint8 RGB as a series of files in `folder`, which is the slide's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, factor in enumerate(factors):
        shape = (image.shape[1] // factor, image.shape[0] // factor)
        level = cv2.resize(image, shape, interpolation=cv2.INTER_AREA) if factor > 1 else image
        (folder / f"level-{index}.dcm").write_bytes(_file(level, mpp * factor, index))
    return folder


def _file(level: np.ndarray, mpp: float, index: int, tile: int = 256) -> bytes:
    instance = b"1.2.826.0.1.3680043.9." + str(index + 1).encode()
    meta = (
        _element(2, 1, b"OB", b"\0\1")
        + _element(2, 2, b"UI", _WHOLE_SLIDE_STORAGE)
        + _element(2, 3, b"UI", instance)
        + _element(2, 0x10, b"UI", _JPEG_BASELINE)
        + _element(2, 0x12, b"UI", b"1.2.826.0.1.3680043.9")
    )
    frames = _frames(level, tile)
    image_type = b"ORIGINAL\\PRIMARY\\VOLUME\\NONE" if index == 0 else b"DERIVED\\PRIMARY\\VOLUME\\RESAMPLED"
    spacing = _element(0x28, 0x30, b"DS", f"{mpp / 1000:.7f}\\{mpp / 1000:.7f}".encode())
    dataset = (
        _element(8, 8, b"CS", image_type)
        + _element(8, 0x16, b"UI", _WHOLE_SLIDE_STORAGE)
        + _element(8, 0x18, b"UI", instance)
        + _element(8, 0x60, b"CS", b"SM")
        + _element(0x20, 0x0D, b"UI", b"1.2.826.0.1.3680043.9.100")
        + _element(0x20, 0x0E, b"UI", b"1.2.826.0.1.3680043.9.200")
        + _element(0x20, 0x9311, b"CS", b"TILED_FULL")
        + _element(0x28, 2, b"US", struct.pack("<H", 3))
        + _element(0x28, 4, b"CS", b"YBR_FULL_422")
        + _element(0x28, 6, b"US", struct.pack("<H", 0))
        + _element(0x28, 8, b"IS", str(len(frames)).encode())
        + _element(0x28, 0x10, b"US", struct.pack("<H", tile))
        + _element(0x28, 0x11, b"US", struct.pack("<H", tile))
        + b"".join(_element(0x28, 0x100 + n, b"US", struct.pack("<H", value)) for n, value in enumerate((8, 8, 7, 0)))
        + _element(0x48, 6, b"UL", struct.pack("<I", level.shape[1]))
        + _element(0x48, 7, b"UL", struct.pack("<I", level.shape[0]))
        + _element(0x5200, 0x9229, b"SQ", _item(_element(0x28, 0x9110, b"SQ", _item(spacing))))
    )
    pixels = struct.pack("<HH2s2xI", 0x7FE0, 0x10, b"OB", 0xFFFFFFFF) + _item(b"")
    pixels += b"".join(map(_item, frames)) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return b"\0" * 128 + b"DICM" + _element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta + dataset + pixels


def _frames(level: np.ndarray, tile: int) -> list[bytes]:
    frames = []
    for y in range(0, level.shape[0], tile):
        for x in range(0, level.shape[1], tile):
            part = level[y : y + tile, x : x + tile]
            missing = (tile - part.shape[0], tile - part.shape[1])
            part = np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
            frames.append(cv2.imencode(".jpg", cv2.cvtColor(part, cv2.COLOR_RGB2BGR))[1].tobytes())
    return frames


def _element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0" if kind in (b"UI", b"OB") else b" "
    if kind in _LONG:
        return struct.pack("<HH2s2xI", group, number, kind, len(value)) + value
    return struct.pack("<HH2sH", group, number, kind, len(value)) + value


def _item(content: bytes) -> bytes:
    content += b"\0" * (len(content) % 2)
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content
