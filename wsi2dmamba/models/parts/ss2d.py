"""Four scans of a raster, each with its own parameters: VMamba's, along lines, and 2DVMamba's, from corners."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from scan2d import START_CORNERS
from wsi2dmamba.core.validation import Settings
from wsi2dmamba.models.parts.cells import Cells
from wsi2dmamba.models.parts.conv import DepthwiseConv2d
from wsi2dmamba.models.parts.lattice import Lattice2D
from wsi2dmamba.models.parts.mixer_block import TokenwiseEnds
from wsi2dmamba.models.parts.selective import DeltaInit, SelectiveParameters


class FourScanOptions(Settings):
    """Options of a block with four scans.

    Attributes
    ----------
    expand
        Scanned channels per channel of the token.
    state
        States per scanned channel, N.
    dt_rank
        Rank of the map from token to step size Δ; None: dim / 16, rounded up.
    dt_init
        "mamba": Δ starts log-uniform in [0.001, 0.1]; "zero": at 0.69.
    conv_kernel
        Size of the depthwise 2D convolution before the scans, odd.
    """

    expand: int = Field(2, ge=1, le=16)
    state: int = Field(16, ge=1, le=256)
    dt_rank: int | None = Field(None, ge=1)
    dt_init: DeltaInit = "mamba"
    conv_kernel: Literal[1, 3, 5, 7] = 3


class FourScans(nn.Module):
    """Sum of four scans of (batch, rows, cols, channels), each with its own Δ, A, B, C and D.

    Parameters
    ----------
    inner
        Channels.
    state, dt_rank, dt_init
        See `FourScanOptions`.
    along
        "lines": 1D scans along rows, along columns, and both reversed (VMamba's cross-scan and cross-merge, section 4.2
        of arXiv 2401.10166); "corners": 2D scans from the four corners (2DVMamba, arXiv 2412.00678).
    """

    def __init__(
        self, inner: int, state: int, dt_rank: int, dt_init: DeltaInit, along: Literal["lines", "corners"]
    ) -> None:
        super().__init__()
        self.along = along
        self.selective = nn.ModuleList(SelectiveParameters(inner, state, dt_rank, dt_init) for _ in range(4))

    def forward(self, u: Tensor) -> Tensor:
        """Scan (batch, rows, cols, channels)."""
        sets = [module for module in self.selective if isinstance(module, SelectiveParameters)]
        if self.along == "corners":
            scans = [s.scan_grid(u, corner) for s, corner in zip(sets, START_CORNERS, strict=True)]
            return sum(scans[1:], start=scans[0])
        batch, rows, cols, channels = u.shape
        by_rows = u.reshape(batch, rows * cols, channels)
        by_cols = u.transpose(1, 2).reshape(batch, rows * cols, channels)
        along_rows = sets[0].scan_sequence(by_rows) + sets[2].scan_sequence(by_rows, reverse=True)
        along_cols = sets[1].scan_sequence(by_cols) + sets[3].scan_sequence(by_cols, reverse=True)
        return along_rows.view(u.shape) + along_cols.reshape(batch, cols, rows, channels).transpose(1, 2)


class FourScanMixer(TokenwiseEnds):
    """in_proj → depthwise convolution → SiLU → four scans → LayerNorm, gated → out_proj.

    Parameters
    ----------
    dim
        Width of the tokens.
    options
        See `FourScanOptions`.
    along
        "lines" or "corners", see `FourScans`.
    """

    def __init__(self, dim: int, options: FourScanOptions, along: Literal["lines", "corners"]) -> None:
        super().__init__()
        inner = options.expand * dim
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.conv = DepthwiseConv2d(inner, options.conv_kernel)
        rank = options.dt_rank or math.ceil(dim / 16)
        self.scans = FourScans(inner, options.state, rank, options.dt_init, along)
        self.norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, dim, bias=False)

    def enter(self, tokens: Tensor) -> Tensor:
        """Return what is scanned."""
        return nn.functional.linear(tokens, self.in_proj.weight.chunk(2)[0])

    def forward(self, raster: Tensor, lattice: Lattice2D | None = None) -> Tensor:
        """Mix (batch, rows, cols, dim)."""
        return self.leave(self._scanned(self.enter(raster)), self.gate(raster))

    def mix(self, cells: Cells) -> Tensor:
        """Scan all cells."""
        return self._scanned(cells.raster())

    def _scanned(self, raster: Tensor) -> Tensor:
        scanned: Tensor = self.scans(nn.functional.silu(self.conv(raster)))
        return scanned

    def gate(self, tokens: Tensor) -> Tensor:
        """Return the gate."""
        return nn.functional.silu(nn.functional.linear(tokens, self.in_proj.weight.chunk(2)[1]))

    def leave(self, mixed: Tensor, gate: Tensor) -> Tensor:
        """Normalise, gate and project."""
        projected: Tensor = self.out_proj(self.norm(mixed) * gate)
        return projected
