"""What makes a scan selective: step sizes and projections that depend on the token (Mamba, arXiv 2312.00752)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from scan2d import selective_scan_1d, selective_scan_2d
from wsi2dmamba.core.validation import Settings
from wsi2dmamba.models.parts.cells import Cells
from wsi2dmamba.models.parts.lattice import Lattice2D
from wsi2dmamba.models.parts.masked_raster import MaskedRaster, take_tokens

DeltaInit = Literal["mamba", "zero"]


class InnerOptions(Settings):
    """How wide a block is inside.

    Attributes
    ----------
    expand
        Scanned channels per channel of the token.
    state
        States per scanned channel, N.
    dt_rank
        Rank of the map from token to step size Δ; None: dim / 16, rounded up.
    """

    expand: int = Field(2, ge=1, le=16)
    state: int = Field(16, ge=1, le=256)
    dt_rank: int | None = Field(None, ge=1)

    def inner(self, dim: int) -> int:
        """Return the scanned channels for tokens of `dim` channels."""
        return self.expand * dim

    def rank(self, dim: int) -> int:
        """Return the rank of Δ for tokens of `dim` channels."""
        return self.dt_rank or math.ceil(dim / 16)


class SelectiveOptions(InnerOptions):
    """How wide a block is inside, and where its step sizes start.

    Attributes
    ----------
    dt_init
        "mamba": Δ starts log-uniform in [0.001, 0.1]; "zero": its bias is zero and Δ starts at 0.69, as in the
        published 2DMamba code.
    """

    dt_init: DeltaInit = "mamba"


class SelectiveParameters(nn.Module):
    """Δ, B and C from tokens, with the A and D that go with them (Mamba, algorithm 2).

    Parameters
    ----------
    inner
        Channels that are scanned.
    state
        States per channel, N.
    dt_rank
        Rank of the map from token to Δ.
    delta_init
        "mamba": softplus of the bias is log-uniform in [0.001, 0.1]; "zero": the bias is zero, so Δ starts at 0.69,
        as in the published 2DMamba code.
    projections
        2: both B and C come from the token; 1: one projection, for systems in which the other is constant.
    """

    def __init__(
        self, inner: int, state: int, dt_rank: int, delta_init: DeltaInit = "mamba", projections: int = 2
    ) -> None:
        super().__init__()
        self.widths = [dt_rank] + [state] * projections
        self.x_proj = nn.Linear(inner, sum(self.widths), bias=False)
        self.dt_proj = nn.Linear(dt_rank, inner)
        self.A_log = nn.Parameter(torch.log(torch.arange(1.0, state + 1)).repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        for parameter in (self.A_log, self.D):
            parameter._no_weight_decay = True  # type: ignore[attr-defined]
        init_delta(self.dt_proj, delta_init)

    @property
    def rates(self) -> Tensor:
        """(inner, state) transition rates, negative."""
        return -torch.exp(self.A_log)

    def forward(self, u: Tensor) -> tuple[Tensor, ...]:
        """Return δ (…, inner) before bias and softplus, and B and C (…, state), of tokens u (…, inner)."""
        low_rank, *projected = self.x_proj(u).split(self.widths, dim=-1)
        return nn.functional.linear(low_rank, self.dt_proj.weight), *projected

    def scan_grid(self, u: Tensor, start: str) -> Tensor:
        """Return the 2D selective scan of u (batch, rows, cols, inner) from a corner."""
        delta, B, C = self(u)
        return scan_grid(u, delta, self.rates, B, C, self.D, self.dt_proj.bias, start)

    def scan_cells(self, cells: Cells, starts: Sequence[str], empty: Tensor | None = None) -> Tensor:
        """Return the sum of the 2D selective scans of (…, inner) cells from several corners, as a raster.

        `empty` (rows·cols,) marks cells that the state crosses unchanged: there Δ = 0.
        """
        projected = cells.each(self.x_proj)
        rank, *widths = self.widths
        delta = projected.each(lambda p: nn.functional.linear(p[..., :rank], self.dt_proj.weight)).raster()
        B, C = projected.each(lambda p: p[..., rank:]).raster().split(widths, dim=-1)
        u, A, bias = cells.raster(), self.rates, self.dt_proj.bias
        skips = [self.D, *[None] * (len(starts) - 1)]  # D·u is added once
        scans = [scan_grid(u, delta, A, B, C, D, bias, start, empty) for D, start in zip(skips, starts, strict=True)]
        return sum(scans[1:], start=scans[0])

    def scan_tokens(self, u: Tensor, starts: Sequence[str], lattice: Lattice2D) -> Tensor:
        """Return the sum of the scans of a lattice's (N, inner) tokens from several corners; it skips other cells."""
        rasters = [MaskedRaster(tokens, lattice) for tokens in (u, *self(u))]
        mask, bias, A = lattice.occupied().view(1, *lattice.shape), self.dt_proj.bias, self.rates
        total = u * self.D
        for start in starts:
            grid, delta, B, C = (raster.read() for raster in rasters)
            out = selective_scan_2d(grid, delta, A, B, C, None, None, bias, True, start=start, mask=mask)
            total = total + take_tokens(out, lattice)
        return total

    def scan_sequence(self, u: Tensor, z: Tensor | None = None, reverse: bool = False) -> Tensor:
        """Return the 1D selective scan of u (batch, length, inner), gated by z of the same shape."""
        delta, B, C = self(u)
        return scan_sequence(u, delta, self.rates, B, C, self.D, z, self.dt_proj.bias, reverse)


def scan_sequence(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    reverse: bool = False,
) -> Tensor:
    """Call `scan2d.selective_scan_1d` on channels-last tensors (batch, length, channels); returns the same form."""
    u, delta, B, C = (t.transpose(1, 2) for t in (u, delta, B, C))
    gate = None if z is None else z.transpose(1, 2)
    out = selective_scan_1d(u, delta, A, B, C, D, gate, delta_bias, True, reverse=reverse)
    return out.transpose(1, 2)


def scan_grid(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    start: str,
    empty: Tensor | None = None,
) -> Tensor:
    """Call `scan2d.selective_scan_2d` on channels-last tensors (batch, rows, cols, channels); returns the same form.

    `empty` (rows·cols,) marks cells that the state crosses unchanged: there Δ = 0, so a = 1 and nothing is added.
    """
    if empty is not None:
        # softplus(-1e4) is exactly zero in float32, and -1e4 is a float16 number.
        delta = delta.masked_fill(empty.view(1, *delta.shape[1:3], 1), -1e4)
    u, delta, B, C = (t.permute(0, 3, 1, 2) for t in (u, delta, B, C))
    out = selective_scan_2d(u, delta, A, B, C, D, None, delta_bias, delta_softplus=True, start=start)
    return out.permute(0, 2, 3, 1)


def init_delta(dt_proj: nn.Linear, delta_init: DeltaInit) -> None:
    """Start the map from a low-rank token to Δ as `SelectiveParameters` says."""
    bound = dt_proj.in_features**-0.5
    nn.init.uniform_(dt_proj.weight, -bound, bound)
    with torch.no_grad():
        if delta_init == "zero":
            dt_proj.bias.zero_()
            return
        step = torch.exp(torch.empty_like(dt_proj.bias).uniform_(math.log(1e-3), math.log(1e-1)))
        dt_proj.bias.copy_(step + torch.log(-torch.expm1(-step)))
