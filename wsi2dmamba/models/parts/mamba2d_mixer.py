"""The 2DMamba mixer: a Mamba block whose scan runs over the raster in two dimensions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from scan2d import START_CORNERS
from wsi2dmamba.models.parts.cells import Cells
from wsi2dmamba.models.parts.conv import CausalConv1d, DepthwiseConv2d
from wsi2dmamba.models.parts.lattice import Lattice2D
from wsi2dmamba.models.parts.mixer_block import TokenwiseEnds
from wsi2dmamba.models.parts.selective import SelectiveOptions, SelectiveParameters


class ScanOptions(SelectiveOptions):
    """Options of the 2D selective scan and its block.

    Attributes
    ----------
    conv
        Depthwise convolution before the scan: "2d" on the raster, "1d" causal on the flattened raster (which leaks
        across the ends of rows, as published), or "none".
    conv_kernel
        Taps of it: odd for "2d".
    corners
        Scan from the top-left corner (1, as published) or from all four, summed (4).
    corner_parameters
        With four corners: "shared" Δ, A, B, C, D, or "separate" ones per corner.
    gaps
        What the state does in cells without tissue: "scan" them like others, with the background's own Δ; "cross"
        them unchanged (Δ = 0), so that it does not fade over the distance between two pieces of tissue; "skip": there
        are no such cells. Then only tissue is computed, and time grows with it rather than with the bounding box: every
        patch takes g and h from the patch before it in its row and its column, and the convolution sees zero around it.
    """

    conv: Literal["2d", "1d", "none"] = "2d"
    conv_kernel: int = Field(3, ge=1, le=31)
    corners: Literal[1, 4] = 1
    corner_parameters: Literal["shared", "separate"] = "shared"
    gaps: Literal["scan", "cross", "skip"] = "scan"


class Mamba2DMixer(TokenwiseEnds):
    """in_proj → depthwise convolution → SiLU → (Δ, B, C) → 2D scan, gated → out_proj (2DMamba, section 4.1).

    With `gaps: skip` it mixes (1, N, dim) tokens, otherwise rasters.

    Parameters
    ----------
    dim
        Width of the tokens.
    options
        See `ScanOptions`.
    """

    def __init__(self, dim: int, options: ScanOptions) -> None:
        super().__init__()
        inner, rank = options.inner(dim), options.rank(dim)
        self.starts = START_CORNERS[: options.corners]
        self.cross_gaps = options.gaps == "cross"
        self.skip_gaps = options.gaps == "skip"
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.conv = _convolution(inner, options)
        sets = len(self.starts) if options.corner_parameters == "separate" else 1
        self.selective = nn.ModuleList(
            SelectiveParameters(inner, options.state, rank, options.dt_init) for _ in range(sets)
        )
        self.out_proj = nn.Linear(inner, dim, bias=False)

    def enter(self, tokens: Tensor) -> Tensor:
        """Return what is scanned."""
        return nn.functional.linear(tokens, self.in_proj.weight.chunk(2)[0])

    def mix(self, cells: Cells) -> Tensor:
        """Scan all cells, or (1, N, inner) tokens if gaps are skipped."""
        if self.skip_gaps:
            return self._scan_tokens(cells.raster().squeeze(0), cells.lattice).unsqueeze(0)
        empty = ~cells.lattice.occupied() if self.cross_gaps else None
        return self._scan_corners(self._convolved(cells).each(nn.functional.silu), empty)

    def gate(self, tokens: Tensor) -> Tensor:
        """Return the gate."""
        return nn.functional.silu(nn.functional.linear(tokens, self.in_proj.weight.chunk(2)[1]))

    def leave(self, mixed: Tensor, gate: Tensor) -> Tensor:
        """Gate and project."""
        projected: Tensor = self.out_proj(mixed * gate)
        return projected

    def _scan_tokens(self, u: Tensor, lattice: Lattice2D) -> Tensor:
        u = nn.functional.silu(self.conv.at_tokens(u, lattice) if isinstance(self.conv, DepthwiseConv2d) else u)
        if len(self.selective) == 1:
            return self._parameters_of(0).scan_tokens(u, self.starts, lattice)
        scans = [self._parameters_of(k).scan_tokens(u, (start,), lattice) for k, start in enumerate(self.starts)]
        return sum(scans[1:], start=scans[0])

    def _convolved(self, cells: Cells) -> Cells:
        if isinstance(self.conv, DepthwiseConv2d):
            return cells.around(self.conv, self.conv.weight.shape[-1] // 2)
        return Cells(cells.lattice, self.conv(cells.raster())) if isinstance(self.conv, CausalConv1d) else cells

    def _scan_corners(self, cells: Cells, empty: Tensor | None) -> Tensor:
        if len(self.selective) == 1:
            return self._parameters_of(0).scan_cells(cells, self.starts, empty)
        scans = [self._parameters_of(k).scan_cells(cells, (start,), empty) for k, start in enumerate(self.starts)]
        return sum(scans[1:], start=scans[0])

    def _parameters_of(self, corner: int) -> SelectiveParameters:
        parameters = self.selective[corner]
        assert isinstance(parameters, SelectiveParameters)
        return parameters


def _convolution(inner: int, options: ScanOptions) -> nn.Module:
    if options.conv == "2d":
        return DepthwiseConv2d(inner, options.conv_kernel)
    return CausalConv1d(inner, options.conv_kernel) if options.conv == "1d" else nn.Identity()
