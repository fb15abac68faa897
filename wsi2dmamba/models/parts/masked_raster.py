"""Tokens into the rasters of a masked scan and back, touching no cell that the mask leaves out.

A masked scan never reads those cells, neither forward nor backward, so they are not even set to zero.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from wsi2dmamba.models.parts.lattice import Lattice2D


class MaskedRaster:
    """(N, width) tokens as a (1, width, rows, cols) raster, channels last, which several scans can read.

    Parameters
    ----------
    tokens
        One per patch of the lattice.
    lattice
        Where they lie.
    """

    def __init__(self, tokens: Tensor, lattice: Lattice2D) -> None:
        self._tokens, self._cells = tokens, lattice.cells
        self._memory = _laid(tokens.detach(), lattice.cells, (1, *lattice.shape, tokens.shape[1]))

    def read(self) -> Tensor:
        """Return the raster for one scan, whose gradient is gathered for that scan alone."""
        raster: Tensor = _Read.apply(self._tokens, self._memory, self._cells)
        return raster.permute(0, 3, 1, 2)


def take_tokens(raster: Tensor, lattice: Lattice2D) -> Tensor:
    """Return the (N, width) tokens of a (1, width, rows, cols) raster that a masked scan has made."""
    tokens: Tensor = _Take.apply(raster.permute(0, 2, 3, 1), lattice.cells)
    return tokens


def _laid(tokens: Tensor, cells: Tensor, shape: tuple[int, ...]) -> Tensor:
    memory = tokens.new_empty(shape)
    memory.view(-1, shape[-1]).index_copy_(0, cells, tokens)
    return memory


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens: Tensor, memory: Tensor, cells: Tensor) -> Tensor:
        ctx.save_for_backward(cells)
        return memory.detach()

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (cells,) = ctx.saved_tensors
        return upstream[0].reshape(-1, upstream[0].shape[-1]).index_select(0, cells), None, None


class _Take(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, raster: Tensor, cells: Tensor) -> Tensor:
        ctx.save_for_backward(cells)
        ctx.shape = raster.shape
        return raster.reshape(-1, raster.shape[-1]).index_select(0, cells)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (cells,) = ctx.saved_tensors
        return _laid(upstream[0], cells, ctx.shape), None
