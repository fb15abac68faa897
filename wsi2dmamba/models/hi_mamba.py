"""Hi-Mamba: scans within windows and over pooled regions (Qiao et al., arXiv 2410.10140)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn

from wsi2dmamba.models.parts.gated_mixer import GatedMixer, GatedOptions
from wsi2dmamba.models.parts.grid_aggregator import GridAggregator, GridOptions
from wsi2dmamba.models.parts.selective import SelectiveParameters
from wsi2dmamba.models.parts.windows import join_windows, pad_to_windows, split_windows


class HiMamba(GridAggregator):
    """Blocks of a local scan (L-SSM) and a region scan (R-SSM), both in one direction, which turns from block to block.

    From the abstract, which names the block of both scans and the alternation of directions; equation numbers
    unconfirmed, published code not found. Read so here: the local scan takes each window's cells in order, the region
    scan the means of the windows over the raster of windows; the region's output is handed to all cells of its window
    and added.

    Parameters
    ----------
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs that the task asks for.
    options
        See `HiMamba.Options`.
    """

    class Options(GridOptions, GatedOptions):
        """Options of Hi-Mamba: those of the raster and of its block.

        Attributes
        ----------
        window
            Cells on the side of a window.
        """

        layers: int = Field(2, ge=1, le=64)
        window: int = Field(4, ge=1, le=64)

    def make_mixer(self, index: int) -> nn.Module:
        """Return a mixer that scans along rows, columns, reversed rows or reversed columns, by turns."""
        assert isinstance(self.options, HiMamba.Options)
        options = self.options

        def scans(inner: int, rank: int) -> nn.Module:
            return HierarchicalScans(inner, rank, options, options.window, direction=index % 4)

        return GatedMixer(options.dim, options, scans)


class HierarchicalScans(nn.Module):
    """Local scan + region scan, all in one direction.

    Parameters
    ----------
    inner
        Channels.
    rank
        Rank of the map to Δ.
    options
        See `GatedOptions`.
    window
        Cells on the side of a window.
    direction
        0: along rows; 1: along columns; 2 and 3: the same, reversed.
    """

    def __init__(self, inner: int, rank: int, options: GatedOptions, window: int, direction: int) -> None:
        super().__init__()
        self.window = window
        self.by_columns, self.reverse = direction % 2 == 1, direction >= 2
        self.local = SelectiveParameters(inner, options.state, rank, options.dt_init)
        self.region = SelectiveParameters(inner, options.state, rank, options.dt_init)

    def forward(self, u: Tensor) -> Tensor:
        """Scan (1, rows, cols, channels)."""
        return self._scan(u.transpose(1, 2)).transpose(1, 2) if self.by_columns else self._scan(u)

    def _scan(self, u: Tensor) -> Tensor:
        rows, cols = u.shape[1:3]
        padded = pad_to_windows(u, self.window)
        windows = split_windows(padded, self.window)
        local = self.local.scan_sequence(windows, reverse=self.reverse)
        regions = windows.mean(dim=1).unsqueeze(0)
        region = self.region.scan_sequence(regions, reverse=self.reverse)
        summed = local + region.squeeze(0).unsqueeze(1)
        return join_windows(summed, padded.shape[1], padded.shape[2], self.window)[:, :rows, :cols]
