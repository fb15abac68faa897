"""V2M: a Roesser 2D state-space model, computed along rows and then along columns (Wang et al., arXiv 2410.10382)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wsi2dmamba.models.parts.conv import CausalConv1d
from wsi2dmamba.models.parts.grid_aggregator import GridAggregator, GridOptions
from wsi2dmamba.models.parts.lattice import Lattice2D
from wsi2dmamba.models.parts.mamba1d_mixer import MambaOptions
from wsi2dmamba.models.parts.selective import SelectiveParameters, scan_sequence


class V2M(GridAggregator):
    """Blocks of a row scan followed by a column scan, over four rotations with the same parameters, averaged.

    The paper's 2D model (its Roesser form) couples a horizontal and a vertical state. What it computes, and what
    stands here, is its decomposition: horizontally h' = Ā₁·h + B̄·x, read out with C = 1; vertically v' = Ā₂·v + h
    entering with B = 1, read out with an input-dependent C; Δ₁, Δ₂, A₁, A₂ are separate, and each stage has its own
    causal convolution, skip D and the common gate. Held against the published code; equation numbers unconfirmed.

    The raster is turned by 0, 90, 180 and 270 degrees, so that a scan leaves from each corner, along rows first or
    along columns first by turns. (The published code, too, takes rows first twice and columns first twice, but leaves
    from the top-left corner both times, and turns the other two back over both axes after turning them over one: there
    outputs land on other cells.)

    Parameters
    ----------
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs that the task asks for.
    options
        See `V2M.Options`.
    """

    class Options(GridOptions, MambaOptions):
        """Options of V2M: those of the raster and of a Mamba block."""

    def make_mixer(self, index: int) -> nn.Module:
        """Return a V2M mixer."""
        assert isinstance(self.options, V2M.Options)
        return V2MMixer(self.options.dim, self.options)


class V2MMixer(nn.Module):
    """in_proj → four times [row stage → column stage], averaged → out_proj.

    Parameters
    ----------
    dim
        Width of the tokens.
    options
        See `MambaOptions`.
    """

    def __init__(self, dim: int, options: MambaOptions) -> None:
        super().__init__()
        inner, rank = options.inner(dim), options.rank(dim)
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.rows = LineStage(inner, rank, options, constant="C")
        self.cols = LineStage(inner, rank, options, constant="B")
        self.out_proj = nn.Linear(inner, dim, bias=False)

    def forward(self, raster: Tensor, lattice: Lattice2D | None = None) -> Tensor:
        """Mix a (1, rows, cols, dim) raster."""
        u, z = self.in_proj(raster).squeeze(0).chunk(2, dim=-1)
        turned = []
        for quarter in range(4):
            v, gate = torch.rot90(u, quarter), torch.rot90(z, quarter)
            v = self.rows(v, gate)
            v = self.cols(v.transpose(0, 1), gate.transpose(0, 1)).transpose(0, 1)
            turned.append(torch.rot90(v, -quarter))
        mixed: Tensor = self.out_proj(torch.stack(turned).mean(dim=0)).unsqueeze(0)
        return mixed


class LineStage(nn.Module):
    """Causal convolution → SiLU → selective scan with B = 1 or C = 1, gated; every line is a sequence of its own.

    Parameters
    ----------
    inner
        Channels.
    dt_rank
        Rank of the map to Δ.
    options
        See `MambaOptions`.
    constant
        Which of "B" and "C" is one rather than input-dependent.
    """

    def __init__(self, inner: int, dt_rank: int, options: MambaOptions, constant: str) -> None:
        super().__init__()
        self.constant = constant
        self.conv = CausalConv1d(inner, options.conv_kernel)
        self.selective = SelectiveParameters(inner, options.state, dt_rank, options.dt_init, projections=1)

    def forward(self, u: Tensor, gate: Tensor) -> Tensor:
        """Scan every line of u (lines, length, inner)."""
        u = nn.functional.silu(self.conv(u))
        s = self.selective
        delta, projection = s(u)
        one = projection.new_ones(()).expand(projection.shape)
        B, C = (one, projection) if self.constant == "B" else (projection, one)
        return scan_sequence(u, delta, s.rates, B, C, s.D, gate, s.dt_proj.bias)
