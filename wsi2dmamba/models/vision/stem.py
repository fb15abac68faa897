"""From pixels to the first raster, and from each raster to one of half its side: strided convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class HalvingConv(nn.Module):
    """3 × 3 convolution with stride 2, then LayerNorm over channels; n cells a side become ⌈n / 2⌉.

    Between stages this is VMamba's downsampling (version "v3" of its code).

    Parameters
    ----------
    in_channels, channels
        Before and after.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels, kernel_size=3, stride=2, padding=1)
        self.norm = nn.LayerNorm(channels)

    def forward(self, raster: Tensor) -> Tensor:
        """Map (batch, rows, cols, in_channels) to (batch, ⌈rows / 2⌉, ⌈cols / 2⌉, channels)."""
        halved = self.conv(raster.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        normed: Tensor = self.norm(halved)
        return normed


class Stem(nn.Module):
    """Two halving convolutions with a GELU in between: one token for every 4 × 4 pixels.

    VMamba's patch embedding (version "v2" of its code).

    Parameters
    ----------
    channels
        Width of the tokens, even.
    in_channels
        Channels of the image.
    """

    def __init__(self, channels: int, in_channels: int = 3) -> None:
        super().__init__()
        self.first = HalvingConv(in_channels, channels // 2)
        self.second = HalvingConv(channels // 2, channels)

    def forward(self, images: Tensor) -> Tensor:
        """Map (batch, in_channels, height, width) images to a (batch, ⌈height / 4⌉, ⌈width / 4⌉, channels) raster."""
        raster = images.contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)
        tokens: Tensor = self.second(nn.functional.gelu(self.first(raster)))
        return tokens
