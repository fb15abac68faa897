"""Vim: forward and backward scans over the patches with absolute positions (Zhu et al., ICML 2024)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wsi2dmamba.models.base import Bag
from wsi2dmamba.models.parts.lattice import Lattice2D
from wsi2dmamba.models.parts.mamba1d_mixer import Backward, Forward, Mamba1DMixer, MambaOptions
from wsi2dmamba.models.parts.positions import sine_positions
from wsi2dmamba.models.parts.sequence_aggregator import SequenceAggregator, SequenceOptions


class Vim(SequenceAggregator):
    """Blocks of algorithm 1 of the paper (arXiv 2401.09417): a forward and a backward Mamba branch, summed, one gate.

    Held against the published block, whose branches have convolution, Δ, A, B, C and D of their own (the algorithm's
    and equation numbers unconfirmed). The paper learns one position vector per cell of a fixed grid (its eq. 3); slides
    have no fixed grid, so positions are sines of row and column, scaled by a learned vector. Its class token is
    replaced by attention pooling.

    Parameters
    ----------
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs that the task asks for.
    options
        See `Vim.Options`.
    """

    class Options(SequenceOptions, MambaOptions):
        """Options of Vim: those of the list and of the Mamba block."""

    def __init__(self, in_dim: int, out_dim: int, options: Options) -> None:
        super().__init__(in_dim, out_dim, options)
        self.position_scale = nn.Parameter(torch.full((options.dim,), 0.1))

    def make_mixer(self, index: int, options: SequenceOptions) -> nn.Module:
        """Return a bidirectional Mamba block."""
        assert isinstance(options, Vim.Options)
        return Mamba1DMixer(options.dim, options, [Forward(), Backward()])

    def embed(self, bag: Bag) -> Tensor:
        """Return (N, dim) projected patches plus their positions."""
        tokens = super().embed(bag)
        lattice = Lattice2D.of(bag)
        grid = torch.stack([lattice.cells // lattice.cols, lattice.cells % lattice.cols], dim=1)
        positions = sine_positions(grid, tokens.shape[1]).to(tokens.dtype)
        return tokens + positions * self.position_scale
