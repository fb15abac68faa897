"""Augmentation of bags: patches left out, and the eight symmetries of the grid."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from wsi2dmamba.models.base import Bag


def augment(bag: Bag, patch_dropout: float, flips: bool) -> Bag:
    """Return a randomly changed bag, drawn from torch's global generator.

    Parameters
    ----------
    bag
        The bag as read.
    patch_dropout
        Share of the patches left out; at least one stays.
    flips
        Whether the grid is flipped and transposed at random.
    """
    if patch_dropout > 0 and len(bag) > 1:
        bag = drop_patches(bag, patch_dropout)
    if flips:
        bag = symmetry(bag, int(torch.randint(8, ())))
    return bag


def drop_patches(bag: Bag, share: float) -> Bag:
    """Return the bag without a random `share` of its patches; the others keep their cells and their order."""
    kept = torch.rand(len(bag)) >= share
    if not kept.any():
        kept[int(torch.randint(len(bag), ()))] = True
    kept = kept.to(bag.grid.device)
    return replace(bag, features=bag.features[kept], grid=bag.grid[kept])


def symmetry(bag: Bag, which: int) -> Bag:
    """Return the bag on its grid turned by one of the eight symmetries of the square.

    Parameters
    ----------
    bag
        The bag as read.
    which
        0 to 7: bit 0 flips rows, bit 1 flips columns, bit 2 transposes.
    """
    rows, cols = bag.grid_shape
    row, col = bag.grid[:, 0], bag.grid[:, 1]
    row = rows - 1 - row if which & 1 else row
    col = cols - 1 - col if which & 2 else col
    if which & 4:
        row, col, rows, cols = col, row, cols, rows
    # Row-major order again: an aggregator may rely on it.
    order = _row_major(row, col, cols)
    return Bag(bag.features[order], torch.stack([row, col], dim=1)[order], (rows, cols))


def _row_major(row: Tensor, col: Tensor, cols: int) -> Tensor:
    return torch.argsort(row * cols + col)
