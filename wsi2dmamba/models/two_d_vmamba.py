"""2DVMamba: VMamba's block with 2D scans from the four corners (Zhang et al., CVPR 2025, arXiv 2412.00678)."""

from __future__ import annotations

from torch import nn

from wsi2dmamba.models.parts.gated_mixer import GatedOptions
from wsi2dmamba.models.parts.grid_aggregator import GridAggregator, GridOptions
from wsi2dmamba.models.parts.ss2d import four_scan_mixer


class TwoDVMamba(GridAggregator):
    """Blocks of four 2D selective scans, one from each corner with its own parameters, added.

    Each scan is equations 5 to 7 of the paper; the block is VMamba's (section 4.4 of the paper).

    Parameters
    ----------
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs that the task asks for.
    options
        See `TwoDVMamba.Options`.
    """

    class Options(GridOptions, GatedOptions):
        """Options of 2DVMamba: those of the raster and of the four scans."""

    def make_mixer(self, index: int) -> nn.Module:
        """Return a mixer with a scan from each corner."""
        assert isinstance(self.options, TwoDVMamba.Options)
        return four_scan_mixer(self.options.dim, self.options, "corners")
