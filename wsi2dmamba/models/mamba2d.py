"""Mamba2D: one 2D recurrence over all lattice paths (Baty et al., arXiv 2412.16146)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scan2d import wavefront_scan_2d
from wsi2dmamba.models.parts.grid_aggregator import GridAggregator, GridOptions
from wsi2dmamba.models.parts.lattice import Lattice2D
from wsi2dmamba.models.parts.selective import InnerOptions, init_delta


class Mamba2D(GridAggregator):
    """Blocks of the all-paths recurrence.

    h[i, j] = ½·(Ā_T·h[i−1, j] + B̄_T·x + Ā_L·h[i, j−1] + B̄_L·x), with one unhalved term on the first row and column
    (eq. 8 and 9 of the paper, numbers unconfirmed; the top-left cell takes the left term), then y = C·h + D·x. Ā and B̄
    have a step size of their own per direction; the projections B and C are shared. Block and recurrence were held
    against the published code; its optional second scan and local convolution are left out.

    Parameters
    ----------
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs that the task asks for.
    options
        See `Mamba2D.Options`.
    """

    class Options(GridOptions, InnerOptions):
        """Options of Mamba2D: those of the raster and of its block."""

    def make_mixer(self, index: int) -> nn.Module:
        """Return a wavefront mixer."""
        assert isinstance(self.options, Mamba2D.Options)
        return WavefrontMixer(self.options.dim, self.options)


class WavefrontMixer(nn.Module):
    """in_proj → GELU → wavefront scan → GELU → out_proj.

    Parameters
    ----------
    dim
        Width of the tokens.
    options
        See `InnerOptions`.
    """

    def __init__(self, dim: int, options: InnerOptions) -> None:
        super().__init__()
        inner, rank = options.inner(dim), options.rank(dim)
        self.widths = [rank, rank, options.state, options.state]
        self.in_proj = nn.Linear(dim, inner)
        self.x_proj = nn.Linear(inner, sum(self.widths))
        self.dt_top, self.dt_left = nn.Linear(rank, inner), nn.Linear(rank, inner)
        for linear in (self.dt_top, self.dt_left):
            init_delta(linear, "mamba")
        rates = torch.log(torch.arange(1.0, options.state + 1)).repeat(inner, 1)
        self.A_top_log, self.A_left_log = nn.Parameter(rates.clone()), nn.Parameter(rates.clone())
        self.D = nn.Parameter(torch.ones(inner))
        for parameter in (self.A_top_log, self.A_left_log, self.D):
            parameter._no_weight_decay = True  # type: ignore[attr-defined]
        self.out_proj = nn.Linear(inner, dim)

    def forward(self, raster: Tensor, lattice: Lattice2D | None = None) -> Tensor:
        """Mix a (1, rows, cols, dim) raster."""
        u = nn.functional.gelu(self.in_proj(raster))
        top, left, B, C = self.x_proj(u).split(self.widths, dim=-1)
        x, delta_top, delta_left, B, C = (
            t.permute(0, 3, 1, 2) for t in (u, self.dt_top(top), self.dt_left(left), B, C)
        )
        y = wavefront_scan_2d(x, delta_top, delta_left, -self.A_top_log.exp(), -self.A_left_log.exp(), B, C, self.D)
        mixed: Tensor = self.out_proj(nn.functional.gelu(y.permute(0, 2, 3, 1)))
        return mixed
