"""What residual blocks are made of: norm, stochastic depth, feed-forward network."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """Divide by the root mean square over channels, times a learned scale (Zhang & Sennrich, arXiv 1910.07467).

    Parameters
    ----------
    width
        Number of channels.
    eps
        Added to the mean square.
    """

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, tokens: Tensor) -> Tensor:
        """Normalise (…, width)."""
        return nn.functional.rms_norm(tokens, self.weight.shape, self.weight, self.eps)


class DropPath(nn.Module):
    """Skip a residual branch in training with a given probability (Huang et al., arXiv 1603.09382).

    Parameters
    ----------
    probability
        Of skipping; what is kept is scaled by its inverse.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, branch: Tensor) -> Tensor:
        """Drop whole items of a (batch, …) branch."""
        if not self.training or self.probability == 0:
            return branch
        keep = 1 - self.probability
        mask = branch.new_empty(branch.shape[0], *[1] * (branch.dim() - 1)).bernoulli_(keep)
        return branch * (mask / keep)


def drop_path_rates(highest: float, layers: int) -> list[float]:
    """Return the probability of skipping each of `layers` blocks, rising linearly from zero to `highest`."""
    return [highest * index / max(layers - 1, 1) for index in range(layers)]


def feed_forward(width: int, ratio: float) -> nn.Module:
    """Return norm → linear → GELU → linear, `ratio` times as wide inside."""
    hidden = round(width * ratio)
    return nn.Sequential(RMSNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
