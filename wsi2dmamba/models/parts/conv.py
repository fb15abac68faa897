"""Depthwise convolutions on channels-last rasters, laid out so that the CPU library takes its fast path."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class DepthwiseConv2d(nn.Module):
    """Centred k × k convolution of every channel with its own kernel, zero outside the raster.

    Parameters
    ----------
    channels
        Number of channels.
    kernel
        Odd size of the kernel.
    dilation
        Distance between the kernel's taps.
    bias
        Whether a learned number is added to every channel.
    """

    def __init__(self, channels: int, kernel: int, dilation: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, kernel, kernel).uniform_(-1 / kernel, 1 / kernel))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-1 / kernel, 1 / kernel)) if bias else None
        self.dilation = dilation

    def forward(self, raster: Tensor) -> Tensor:
        """Convolve (batch, rows, cols, channels)."""
        return depthwise_conv2d(raster, self.weight, self.bias, self.dilation)


def depthwise_conv2d(raster: Tensor, weight: Tensor, bias: Tensor | None, dilation: int = 1) -> Tensor:
    """Convolve (batch, rows, cols, channels) with (channels, 1, k, k), k odd, zero outside the raster."""
    out = nn.functional.conv2d(
        raster.permute(0, 3, 1, 2),
        weight,
        bias,
        padding=dilation * (weight.shape[-1] // 2),
        dilation=dilation,
        groups=weight.shape[0],
    )
    return out.permute(0, 2, 3, 1)


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
