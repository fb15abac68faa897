"""The frame of every aggregator that mixes tokens as a list: the patches in row-major order, no empty cells."""

from __future__ import annotations

from abc import abstractmethod

import torch
from pydantic import Field
from torch import Tensor, nn

from wsi2dmamba.models.base import Aggregator, Bag, SlideOutput
from wsi2dmamba.models.parts.blocks import DropPath, drop_path_rates
from wsi2dmamba.models.parts.lattice import Lattice2D
from wsi2dmamba.models.parts.pooling import AttentionHead, AttentionOptions
from wsi2dmamba.models.parts.projection import Projection, ProjectionOptions


class SequenceOptions(ProjectionOptions, AttentionOptions):
    """Options of all aggregators on a list of patches.

    Attributes
    ----------
    layers
        Number of blocks.
    drop_path
        Probability of skipping the last block in training; it rises linearly from zero at the first.
    """

    layers: int = Field(2, ge=1, le=64)
    drop_path: float = Field(0.0, ge=0.0, lt=1.0)


class SequenceBlock(nn.Module):
    """x + mixer(norm(x)), with stochastic depth.

    Parameters
    ----------
    width
        Number of channels.
    mixer
        Module from (1, N, width) to the same shape.
    drop_path
        Probability of skipping the mixer in training.
    """

    def __init__(self, width: int, mixer: nn.Module, drop_path: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mixer = mixer
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor) -> Tensor:
        """Mix (1, N, width) tokens."""
        mixed: Tensor = tokens + self.drop_path(self.mixer(self.norm(tokens)))
        return mixed


class SequenceAggregator(Aggregator):
    """Base of the aggregators on a list of patches; a subclass says what its mixer is.

    Parameters
    ----------
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs that the task asks for.
    options
        Those of `SequenceOptions` and the subclass's own.
    """

    def __init__(self, in_dim: int, out_dim: int, options: SequenceOptions) -> None:
        super().__init__(in_dim, out_dim)
        self.project = Projection(in_dim, options)
        rates = drop_path_rates(options.drop_path, options.layers)
        self.blocks = nn.ModuleList(
            SequenceBlock(options.dim, self.make_mixer(index, options), rate) for index, rate in enumerate(rates)
        )
        self.norm = nn.LayerNorm(options.dim)
        self.head: nn.Module = AttentionHead(options.dim, out_dim, options)

    @abstractmethod
    def make_mixer(self, index: int, options: SequenceOptions) -> nn.Module:
        """Return the mixer of block `index`: a module from (1, N, dim) to the same shape."""

    def embed(self, bag: Bag) -> Tensor:
        """Return (N, dim) tokens before the first block, in the bag's order."""
        return self.project(bag.features)

    def encode(self, bag: Bag) -> Tensor:
        """Return (N, dim) tokens of the patches, in the bag's order."""
        order = torch.argsort(Lattice2D.of(bag).cells)
        tokens = self.embed(bag).index_select(0, order).unsqueeze(0)
        for block in self.blocks:
            tokens = block(tokens)
        back: Tensor = self.norm(tokens).squeeze(0).index_select(0, torch.argsort(order))
        return back

    def pool(self, tokens: Tensor) -> SlideOutput:
        """Return the output of attention pooling over (N, dim) tokens."""
        output: SlideOutput = self.head(tokens)
        return output
