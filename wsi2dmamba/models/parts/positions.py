"""Absolute positions as sines and cosines of rows and columns."""

from __future__ import annotations

import torch
from torch import Tensor


def sine_positions(grid: Tensor, dim: int) -> Tensor:
    """Return (N, dim) sines and cosines of (N, 2) rows and columns (Vaswani et al., arXiv 1706.03762, per axis).

    A quarter of the channels each holds the sine and cosine of the row, and of the column, at wavelengths from 2π
    to 10,000·2π cells; channels left over by the division are zero.
    """
    quarter = dim // 4
    rates = 10_000 ** (-torch.arange(quarter, device=grid.device, dtype=torch.float64) / max(quarter, 1))
    angles = (grid.to(torch.float64).unsqueeze(-1) * rates).flatten(1)
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)
    return torch.nn.functional.pad(waves, (0, dim - waves.shape[1]))
