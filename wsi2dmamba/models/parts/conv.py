"""Depthwise convolutions on channels-last rasters, laid out so that the CPU library takes its fast path."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from wsi2dmamba.models.parts.lattice import Lattice2D


class DepthwiseConv2d(nn.Module):
    """Centred k × k convolution of every channel with its own kernel, zero outside the raster.

    Parameters
    ----------
    channels
        Number of channels.
    kernel
        Odd size of the kernel.
    bias
        Whether a learned number is added to every channel.
    """

    def __init__(self, channels: int, kernel: int, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, kernel, kernel).uniform_(-1 / kernel, 1 / kernel))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-1 / kernel, 1 / kernel)) if bias else None

    def forward(self, raster: Tensor) -> Tensor:
        """Convolve (batch, rows, cols, channels)."""
        channels, _, kernel, _ = self.weight.shape
        out = nn.functional.conv2d(
            raster.permute(0, 3, 1, 2), self.weight, self.bias, padding=kernel // 2, groups=channels
        )
        return out.permute(0, 2, 3, 1)

    def at_tokens(self, tokens: Tensor, lattice: Lattice2D) -> Tensor:
        """Convolve (N, channels) tokens of a lattice, zero in its other cells, and return the result at the tokens."""
        taps = self.weight.flatten(1).T.contiguous()
        result: Tensor = _GatheredConvolution.apply(tokens, taps, self.bias, lattice.neighbours(self.weight.shape[-1]))
        return result


class _GatheredConvolution(torch.autograd.Function):
    """Depthwise convolution of scattered tokens: a sum over taps of gathered tokens times the tap's weights.

    Being a neighbour is mutual: if j lies at tap k of i, then i lies at the opposite tap of j. So the gradient gathers
    too, with the taps reversed, which is faster than adding to scattered rows and leaves no order of addition open.
    """

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, taps: Tensor, bias: Tensor, neighbours: Tensor) -> Tensor:
        ctx.save_for_backward(tokens, taps, neighbours)
        return _gathered_sum(tokens, taps, neighbours) + bias

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        tokens, taps, neighbours = ctx.saved_tensors
        d_tokens = _gathered_sum(upstream[0], taps.flip(0), neighbours)
        padded = _with_blank(tokens)
        d_taps = torch.stack([(padded.index_select(0, at) * upstream[0]).sum(0) for at in neighbours])
        return d_tokens, d_taps, upstream[0].sum(0), None


def _with_blank(tokens: Tensor) -> Tensor:
    return torch.cat([tokens, tokens.new_zeros(1, tokens.shape[1])])


def _gathered_sum(tokens: Tensor, taps: Tensor, neighbours: Tensor) -> Tensor:
    padded, total = _with_blank(tokens), torch.zeros_like(tokens)
    for weights, at in zip(taps, neighbours, strict=True):
        total.addcmul_(padded.index_select(0, at), weights)
    return total


class CausalConv1d(nn.Module):
    """Convolution of every channel over the token and the k - 1 before it (Mamba's).

    On a raster, "before" follows the flattened order, across the ends of rows: the published 2DMamba does so.

    Parameters
    ----------
    channels
        Number of channels.
    kernel
        Taps per channel.
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(kernel)
        self.weight = nn.Parameter(torch.empty(channels, 1, kernel).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))

    def forward(self, tokens: Tensor) -> Tensor:
        """Convolve (batch, length, channels), or (batch, rows, cols, channels) in row-major order."""
        sequence = tokens.reshape(tokens.shape[0], 1, -1, tokens.shape[-1])
        kernel = self.weight.shape[-1]
        padded = nn.functional.pad(sequence, (0, 0, kernel - 1, 0)).permute(0, 3, 1, 2)
        out = nn.functional.conv2d(padded, self.weight.unsqueeze(2), self.bias, groups=self.weight.shape[0])
        return out.permute(0, 2, 3, 1).reshape(tokens.shape)
