"""Four scans of a raster, each with its own parameters: VMamba's, along lines, and 2DVMamba's, from corners."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from scan2d import START_CORNERS
from wsi2dmamba.models.parts.gated_mixer import GatedMixer, GatedOptions
from wsi2dmamba.models.parts.selective import DeltaInit, SelectiveParameters


class FourScans(nn.Module):
    """Sum of four scans of (batch, rows, cols, channels), each with its own Δ, A, B, C and D.

    Parameters
    ----------
    inner
        Channels.
    state, dt_rank, dt_init
        See `SelectiveOptions`.
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


def four_scan_mixer(dim: int, options: GatedOptions, along: Literal["lines", "corners"]) -> GatedMixer:
    """Return a gated block with four scans."""
    return GatedMixer(dim, options, lambda inner, rank: FourScans(inner, options.state, rank, options.dt_init, along))
