"""A raster as square windows, and back."""

from __future__ import annotations

from torch import Tensor, nn


def pad_to_windows(raster: Tensor, side: int) -> Tensor:
    """Return (1, rows, cols, C) with zeros at the bottom and right, up to multiples of `side`."""
    return nn.functional.pad(raster, (0, 0, 0, -raster.shape[2] % side, 0, -raster.shape[1] % side))


def split_windows(raster: Tensor, side: int) -> Tensor:
    """Return (windows, side², C) of a (1, rows, cols, C) raster; windows and their cells in row-major order."""
    _, rows, cols, channels = raster.shape
    cut = raster.reshape(rows // side, side, cols // side, side, channels).transpose(1, 2)
    return cut.reshape(-1, side * side, channels)


def join_windows(windows: Tensor, rows: int, cols: int, side: int) -> Tensor:
    """Undo `split_windows`: (windows, side², C) to (1, rows, cols, C)."""
    channels = windows.shape[-1]
    cut = windows.reshape(rows // side, cols // side, side, side, channels).transpose(1, 2)
    return cut.reshape(1, rows, cols, channels)
