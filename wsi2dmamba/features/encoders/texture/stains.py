"""Colour deconvolution: from RGB to the amounts of haematoxylin, eosin and what is neither."""

from __future__ import annotations

import torch
from torch import Tensor

# Optical densities of the stains in red, green and blue (Ruifrok and Johnston, Anal. Quant. Cytol. Histol. 2001).
HAEMATOXYLIN = (0.650, 0.704, 0.286)
EOSIN = (0.072, 0.990, 0.105)
# Densities and the matrix are multiples of 1/1024. The products and sums of unmixing then fit into float32 exactly, in
# any order, so that histograms and patterns, which cut at thresholds, are the same on every processor and in any batch.
_STEPS = 1024


def unmixing_matrix() -> Tensor:
    """Return the (3, 3) matrix M with (haematoxylin, eosin, residual) = M · optical density.

    The residual axis is orthogonal to both stains, so that pen, pigment and blood show up in it. Rounded to 1/1024.
    """
    stains = torch.tensor([HAEMATOXYLIN, EOSIN], dtype=torch.float64)
    stains = stains / stains.norm(dim=1, keepdim=True)
    residual = torch.linalg.cross(stains[0], stains[1])
    basis = torch.stack([stains[0], stains[1], residual / residual.norm()])
    return _rounded(torch.linalg.inv(basis.T)).to(torch.float32)


def optical_density(rgb: Tensor) -> Tensor:
    """Return −log₁₀ of the transmitted light of `rgb` (grey levels 0 to 255, any shape), rounded to 1/1024."""
    return _rounded(torch.log10((rgb + 1.0) / 256.0).neg_())


def _rounded(values: Tensor) -> Tensor:
    return values.mul_(_STEPS).round_().div_(_STEPS)
