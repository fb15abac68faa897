"""Pre-norm residual blocks with stochastic depth."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from wsi2dmamba.models.parts.lattice import Lattice2D


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


class TokenwiseFirst(nn.Module, ABC):
    """A mixer of rasters that begins with a step on every token by itself.

    Before the first block all cells without tissue hold the same token, so the frame takes that step once for all of
    them.
    """

    @abstractmethod
    def embed(self, tokens: Tensor) -> Tensor:
        """Take the first step on (…, dim) tokens."""

    @abstractmethod
    def mix(self, embedded: Tensor, lattice: Lattice2D) -> Tensor:
        """Do the rest on a (1, rows, cols, …) raster of embedded tokens; returns (1, rows, cols, dim)."""

    def forward(self, raster: Tensor, lattice: Lattice2D) -> Tensor:
        """Mix a (1, rows, cols, dim) raster."""
        return self.mix(self.embed(raster), lattice)


def drop_path_rates(highest: float, layers: int) -> list[float]:
    """Return the probability of skipping each of `layers` blocks, rising linearly from zero to `highest`."""
    return [highest * index / max(layers - 1, 1) for index in range(layers)]
