"""Small random bags on irregular tissue."""

from __future__ import annotations

import torch

from wsi2dmamba.models.base import Bag


def random_bag(
    rows: int = 7, cols: int = 5, in_dim: int = 6, seed: int = 0, keep: float = 0.6, dtype: torch.dtype = torch.float32
) -> Bag:
    """Return a bag on a rows × cols grid of which about `keep` holds tissue, in shuffled order."""
    generator = torch.Generator().manual_seed(seed)
    occupied = torch.rand(rows, cols, generator=generator) < keep
    occupied[0, 0] = occupied[-1, -1] = True
    grid = occupied.nonzero()
    grid = grid[torch.randperm(len(grid), generator=generator)]
    features = torch.randn(len(grid), in_dim, generator=generator, dtype=dtype)
    return Bag(features, grid, (rows, cols))
