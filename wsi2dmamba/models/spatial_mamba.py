"""Spatial-Mamba: a 1D scan whose states are fused with their neighbours (Xiao et al., ICLR 2025, arXiv 2410.15091)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from scan2d import dilated_state_fusion
from wsi2dmamba.models.parts.gated_mixer import GatedMixer, GatedOptions
from wsi2dmamba.models.parts.grid_aggregator import GridAggregator, GridOptions
from wsi2dmamba.models.parts.selective import DeltaInit, SelectiveParameters, scan_sequence


class SpatialMamba(GridAggregator):
    """Blocks of structure-aware state fusion.

    One state per channel is scanned along the flattened raster (eq. 3 of the paper); the fused state is
    h̃ = Σ_k α_k · (depthwise 3 × 3 convolution of h with dilation k), k ∈ {1, 3, 5} (eq. 4); y = C·h̃ + D·x (eq. 5).
    Held against the published code, which repeats the border's states beyond it as is done here (equation numbers
    unconfirmed); the residual 3 × 3 convolutions around its block are left out.

    Parameters
    ----------
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs that the task asks for.
    options
        See `SpatialMamba.Options`.
    """

    class Options(GridOptions, GatedOptions):
        """Options of Spatial-Mamba: those of the raster and of its block; the paper's state is one per channel."""

        state: int = Field(1, ge=1, le=1)

    def make_mixer(self, index: int) -> nn.Module:
        """Return a mixer with state fusion."""
        assert isinstance(self.options, SpatialMamba.Options)
        options = self.options
        return GatedMixer(options.dim, options, lambda inner, rank: StateFusion(inner, rank, options.dt_init))


class StateFusion(nn.Module):
    """Scan to h → fusion → C·h̃ + D·x.

    Parameters
    ----------
    inner
        Channels.
    rank
        Rank of the map to Δ.
    dt_init
        Where Δ starts.
    """

    DILATIONS = (1, 3, 5)

    def __init__(self, inner: int, rank: int, dt_init: DeltaInit) -> None:
        super().__init__()
        self.selective = SelectiveParameters(inner, 1, rank, dt_init)
        self.kernels = nn.Parameter(torch.ones(3, inner, 3, 3))
        self.alpha = nn.Parameter(torch.ones(3))

    def forward(self, u: Tensor) -> Tensor:
        """Scan (1, rows, cols, channels)."""
        s = self.selective
        flat = u.reshape(u.shape[0], -1, u.shape[-1])
        delta, B, C = s(flat)
        h = scan_sequence(flat, delta, s.rates, B, torch.ones_like(C), delta_bias=s.dt_proj.bias).view(u.shape)
        fused = dilated_state_fusion(h.permute(0, 3, 1, 2), self.kernels, self.alpha, self.DILATIONS)
        return fused.permute(0, 2, 3, 1) * C.view(*u.shape[:3], 1) + u * s.D
