"""VMamba's gated block, in which several systems put scans of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from wsi2dmamba.models.parts.cells import Cells
from wsi2dmamba.models.parts.conv import DepthwiseConv2d
from wsi2dmamba.models.parts.lattice import Lattice2D
from wsi2dmamba.models.parts.mixer_block import TokenwiseEnds
from wsi2dmamba.models.parts.selective import SelectiveOptions


class GatedOptions(SelectiveOptions):
    """Options of a gated block.

    Attributes
    ----------
    conv_kernel
        Size of the depthwise 2D convolution before the scans, odd.
    """

    conv_kernel: Literal[1, 3, 5, 7] = 3


class GatedMixer(TokenwiseEnds):
    """in_proj → depthwise convolution → SiLU → scans → LayerNorm, gated → out_proj.

    Parameters
    ----------
    dim
        Width of the tokens.
    options
        See `GatedOptions`.
    make_scans
        From the number of scanned channels and the rank of Δ to a module on (batch, rows, cols, channels).
    """

    def __init__(self, dim: int, options: GatedOptions, make_scans: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        inner = options.inner(dim)
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.conv = DepthwiseConv2d(inner, options.conv_kernel)
        self.scans = make_scans(inner, options.rank(dim))
        self.norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, dim, bias=False)

    def forward(self, raster: Tensor, lattice: Lattice2D | None = None) -> Tensor:
        """Mix (batch, rows, cols, dim)."""
        return self.leave(self._scanned(self.enter(raster)), self.gate(raster))

    def enter(self, tokens: Tensor) -> Tensor:
        """Return what is scanned."""
        return nn.functional.linear(tokens, self.in_proj.weight.chunk(2)[0])

    def mix(self, cells: Cells) -> Tensor:
        """Scan all cells."""
        return self._scanned(cells.raster())

    def gate(self, tokens: Tensor) -> Tensor:
        """Return the gate."""
        return nn.functional.silu(nn.functional.linear(tokens, self.in_proj.weight.chunk(2)[1]))

    def leave(self, mixed: Tensor, gate: Tensor) -> Tensor:
        """Normalise, gate and project."""
        projected: Tensor = self.out_proj(self.norm(mixed) * gate)
        return projected

    def _scanned(self, raster: Tensor) -> Tensor:
        scanned: Tensor = self.scans(nn.functional.silu(self.conv(raster)))
        return scanned
