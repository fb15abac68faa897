"""Dilated state fusion: every state becomes a weighted sum of its neighbours' (Spatial-Mamba, arXiv 2410.15091)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from scan2d.errors import InvalidArgumentError


def dilated_state_fusion(h: Tensor, kernels: Tensor, alpha: Tensor, dilations: Sequence[int] = (1, 3, 5)) -> Tensor:
    """Return ``Σ_k α_k · (3 × 3 depthwise convolution of h with dilation k)`` (eq. 4 of the paper).

    Beyond the edge stands the nearest state of the grid. The convolutions are torch's, which run fused on CPU and
    GPU; states are laid out channels-last on the way.

    Parameters
    ----------
    h : Tensor, shape (batch, dim, H, W)
        One state per channel.
    kernels : Tensor, shape (K, dim, 3, 3)
        A kernel per dilation and channel.
    alpha : Tensor, shape (K,)
        Weight of every dilation.
    dilations : sequence of K ints
        Distance between the taps.

    Returns
    -------
    Tensor, shape (batch, dim, H, W)

    Raises
    ------
    InvalidArgumentError
        The shapes do not fit each other.
    """
    if h.dim() != 4 or kernels.shape != (len(dilations), h.shape[1], 3, 3) or alpha.shape != (len(dilations),):
        raise InvalidArgumentError(
            f"for h {tuple(h.shape)} and {len(dilations)} dilations, kernels must be ({len(dilations)}, dim, 3, 3) "
            f"and alpha ({len(dilations)},), not {tuple(kernels.shape)} and {tuple(alpha.shape)}"
        )
    furthest = max(dilations)
    around = F.pad(h, (furthest,) * 4, mode="replicate").contiguous(memory_format=torch.channels_last)
    fused = torch.zeros_like(h)
    for weight, kernel, dilation in zip(alpha, kernels, dilations, strict=True):
        inner = furthest - dilation
        view = around[:, :, inner : around.shape[2] - inner, inner : around.shape[3] - inner]
        fused = fused + F.conv2d(view, (weight * kernel).unsqueeze(1), dilation=dilation, groups=h.shape[1])
    return fused
