"""VMamba: 1D scans of the raster along four routes (Liu et al., NeurIPS 2024, arXiv 2401.10166)."""

from __future__ import annotations

from torch import nn

from wsi2dmamba.models.parts.gated_mixer import GatedOptions
from wsi2dmamba.models.parts.grid_aggregator import GridAggregator, GridOptions
from wsi2dmamba.models.parts.ss2d import four_scan_mixer


class VMamba(GridAggregator):
    """Blocks of SS2D: the raster is read along rows, along columns and both reversed; the four scans are added.

    The block is the paper's VSS block in its gated form, that of the first version; SS2D is cross-scan, four S6 scans
    with their own parameters, cross-merge. Held against the published SS2D; figure and section numbers unconfirmed.

    Parameters
    ----------
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs that the task asks for.
    options
        See `VMamba.Options`.
    """

    class Options(GridOptions, GatedOptions):
        """Options of VMamba: those of the raster and of the four scans."""

    def make_mixer(self, index: int) -> nn.Module:
        """Return an SS2D mixer."""
        assert isinstance(self.options, VMamba.Options)
        return four_scan_mixer(self.options.dim, self.options, "lines")
