"""What every patch encoder is: a torch module with a name, a dimension and the input it was made for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class EncoderInfo:
    """What is known of an encoder before any patch is shown to it.

    Attributes
    ----------
    name
        Name of the folder its features go to; letters, digits, ``.``, ``_`` and ``-``.
    dim
        Numbers per patch.
    mpp
        Micrometres per pixel it expects; None when any will do.
    patch_px
        Side of the patch in pixels that it sees (others are resized); None when any will do.
    revision
        The exact weights: commit of the hub, or ``sha256:…`` of a local file, or a version of its definition.
    """

    name: str
    dim: int
    mpp: float | None
    patch_px: int | None
    revision: str


class Encoder(nn.Module, ABC):
    """A frozen network (or formula) from patches to feature vectors.

    Subclasses set `info` and define `preprocess` and `forward`; both run on the device the encoder was moved to.

    Attributes
    ----------
    info
        Name, dimension, expected input, revision.
    cheap
        True when one copy per processor is sensible: on a CPU the reading processes then encode what they read.
    """

    info: EncoderInfo
    cheap: bool = False

    @abstractmethod
    def preprocess(self, patches: Tensor) -> Tensor:
        """Turn (N, H, W, 3) uint8 RGB patches into the (N, C, h, w) float32 input of `forward`."""

    @abstractmethod
    def forward(self, inputs: Tensor) -> Tensor:
        """Turn the output of `preprocess` into (N, dim) features."""

    def encode(self, patches: Tensor) -> Tensor:
        """Return the (N, dim) features of (N, H, W, 3) uint8 RGB patches, without gradients."""
        with torch.inference_mode():
            return self.forward(self.preprocess(patches))


@dataclass(frozen=True)
class Normalisation:
    """How an ImageNet-style network wants its pixels: square side, then (x / 255 − mean) / std per channel.

    Attributes
    ----------
    patch_px
        Side of the network's input.
    mean, std
        Per channel, on a scale of 0 to 1.
    resize_px
        Resize to this side and cut `patch_px` out of the centre, as a few authors do; None keeps the whole field of
        view.
    """

    patch_px: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    resize_px: int | None = None

    def __call__(self, patches: Tensor) -> Tensor:
        """Turn (N, H, W, 3) uint8 patches into (N, 3, patch_px, patch_px) float32, channels-last in memory.

        Patches of another size are resized (bicubic, antialiased).
        """
        pixels = patches.permute(0, 3, 1, 2).to(torch.float32)
        side = self.resize_px or self.patch_px
        if pixels.shape[-2:] != (side, side):
            size = (side, side)
            pixels = F.interpolate(pixels, size, mode="bicubic", antialias=True, align_corners=False).clamp(0, 255)
        edge = (side - self.patch_px) // 2
        if edge > 0:
            pixels = pixels[..., edge : edge + self.patch_px, edge : edge + self.patch_px]
        mean = pixels.new_tensor(self.mean).view(1, 3, 1, 1) * 255
        std = pixels.new_tensor(self.std).view(1, 3, 1, 1) * 255
        return ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)
