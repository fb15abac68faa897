"""Random changes of training images, in torch alone, on whichever device they are."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from wsi2dmamba.training.tiles.config import AugmentConfig

_GREY = (0.299, 0.587, 0.114)


def augment_images(images: Tensor, config: AugmentConfig) -> Tensor:
    """Return randomly changed images, drawn from torch's global CPU generator, so the device does not matter.

    Parameters
    ----------
    images
        (N, 3, px, px) on a scale of 0 to 1.
    config
        What may change, and how much.
    """
    if config.symmetries:
        images = turn_and_flip(images, torch.randint(8, (len(images),)))
    if config.rotation > 0 or config.zoom > 0:
        images = rotate_and_zoom(images, config.rotation, config.zoom)
    return jitter_colours(images, config.jitter) if config.jitter > 0 else images


def turn_and_flip(images: Tensor, which: Tensor) -> Tensor:
    """Return each square image turned by one of the eight symmetries: bits 0 and 1 flip, bit 2 transposes."""
    turned = images.clone()
    for symmetry in range(1, 8):
        chosen = (which == symmetry).nonzero().flatten().to(images.device)
        if len(chosen):
            some = images[chosen]
            some = some.flip([axis for bit, axis in ((1, -2), (2, -1)) if symmetry & bit])
            turned[chosen] = some.transpose(-1, -2) if symmetry & 4 else some
    return turned


def rotate_and_zoom(images: Tensor, degrees: float, share: float) -> Tensor:
    """Return each image rotated by up to `degrees` and scaled by up to 1 ± `share`, mirrored at its edges."""
    count = len(images)
    angle = math.radians(degrees) * _symmetric(count)
    scale = 1 + share * _symmetric(count)
    zero, cos, sin = torch.zeros(count), torch.cos(angle) / scale, torch.sin(angle) / scale
    matrices = torch.stack([cos, -sin, zero, sin, cos, zero], dim=1).view(-1, 2, 3).to(images.device)
    where = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images, where, mode="bilinear", padding_mode="reflection", align_corners=False)


def jitter_colours(images: Tensor, share: float) -> Tensor:
    """Return images with brightness, contrast and saturation each changed by up to ± `share`, within [0, 1]."""

    def factor() -> Tensor:
        return (1 + share * _symmetric(len(images))).view(-1, 1, 1, 1).to(images.device)

    images = images * factor()
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    images = middle + (images - middle) * factor()
    grey = (images * images.new_tensor(_GREY).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    return (grey + (images - grey) * factor()).clamp(0, 1)


def _symmetric(count: int) -> Tensor:
    return 2 * torch.rand(count) - 1
