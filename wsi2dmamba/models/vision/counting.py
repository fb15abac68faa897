"""Parameters and operations, counted as VMamba's authors count them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from wsi2dmamba.models.parts.ss2d import FourScans
from wsi2dmamba.models.vision.backbone import ImageBackbone
from wsi2dmamba.models.vision.config import VisionConfig

_PER_NORMALISED_ELEMENT = 5
_PER_STATE = 9


def count_parameters(config: VisionConfig, classes: int = 1000) -> int:
    """Return the number of parameters, with the head."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in ImageBackbone(config, classes).parameters())


def count_operations(config: VisionConfig, px: int = 224, classes: int = 1000) -> int:
    """Return the operations of one forward pass of one px × px image, with the head.

    Notes
    -----
    The rule of VMamba's table, and so of 2DVMamba's: one multiplication with its addition in a linear layer or
    convolution is one operation; a normalised element is five (fvcore's rule); a scan is 9·N + 1 for every cell and
    channel (https://github.com/state-spaces/mamba/issues/110); the rest is free. A 2D scan in fact does one
    multiply-add per state and cell more than a 1D scan, which the published figures leave out.
    """
    with torch.device("meta"):
        model, image = ImageBackbone(config, classes).eval(), torch.empty(1, 3, px, px)
    others = 0

    def add(module: nn.Module, _: Any, out: Tensor) -> None:
        nonlocal others
        if isinstance(module, FourScans):
            others += len(module.selective) * out.numel() * (_PER_STATE * config.state + 1)
        else:
            others += _PER_NORMALISED_ELEMENT * out.numel()

    for module in model.modules():
        if isinstance(module, (FourScans, nn.LayerNorm)):
            module.register_forward_hook(add)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    return counter.get_total_flops() // 2 + others
