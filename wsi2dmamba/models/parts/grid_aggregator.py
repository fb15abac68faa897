"""The frame of every aggregator that mixes tokens on the slide's raster.

    features → projection → raster with background → blocks of [norm → mixer, + residual] → norm → attention → head

A system is the mixer it puts in; everything else is equal, so that comparisons are of mixers.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from wsi2dmamba.models.base import Aggregator, Bag, SlideOutput
from wsi2dmamba.models.parts.blocks import drop_path_rates
from wsi2dmamba.models.parts.cells import Cells
from wsi2dmamba.models.parts.lattice import Lattice2D, connected_pieces
from wsi2dmamba.models.parts.mixer_block import MixerBlock
from wsi2dmamba.models.parts.pooling import AttentionHead, AttentionOptions
from wsi2dmamba.models.parts.projection import Projection, ProjectionOptions
from wsi2dmamba.models.parts.regions import MultiScaleHead, region_indices


class GridOptions(ProjectionOptions, AttentionOptions):
    """Options of all aggregators on a raster.

    Attributes
    ----------
    layers
        Number of blocks.
    drop_path
        Probability of skipping the last block in training; it rises linearly from zero at the first.
    background
        What fills cells without tissue: a "learned" token or "zero".
    pooling
        Whether the attention is over "tissue" cells or over "all" cells of the raster.
    grid_shape
        (rows, cols) that every slide is padded to; None: each slide's own bounding box.
    pieces
        "together": one raster for the whole slide; "apart": one for each connected piece of tissue, so that time
        grows with tissue rather than with the bounding box, and no state crosses from piece to piece. Patches up to
        one empty cell apart are connected.
    mlp_ratio
        Hidden width of a feed-forward network after every mixer, per channel of the token; 0: none. The image
        backbones from which several of these systems come use 4.
    regions
        Sides of square regions, in cells, over which the attention pools besides the patches, e.g. [2, 4]; the
        scales' pooled tokens are joined before the head.
    """

    layers: int = Field(1, ge=1, le=64)
    drop_path: float = Field(0.0, ge=0.0, lt=1.0)
    background: Literal["learned", "zero"] = "learned"
    pooling: Literal["tissue", "all"] = "tissue"
    grid_shape: tuple[int, int] | None = None
    pieces: Literal["together", "apart"] = "together"
    mlp_ratio: float = Field(0.0, ge=0.0, le=16.0)
    regions: tuple[Annotated[int, Field(ge=2, le=64)], ...] = ()

    @model_validator(mode="after")
    def _check_pieces(self) -> GridOptions:
        if self.pieces == "apart" and (self.grid_shape is not None or self.pooling == "all"):
            raise ValueError("pieces: apart needs pooling: tissue and no grid_shape")
        if self.regions and self.pooling == "all":
            raise ValueError("regions needs pooling: tissue")
        return self


class GridAggregator(Aggregator):
    """Base of the aggregators on a raster; a subclass says what its mixer is.

    Parameters
    ----------
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs that the task asks for.
    options
        Those of `GridOptions` and the subclass's own.
    """

    def __init__(self, in_dim: int, out_dim: int, options: GridOptions) -> None:
        super().__init__(in_dim, out_dim)
        self.options = options
        self.project = Projection(in_dim, options)
        learned = options.background == "learned" and not self.skips_gaps
        self.background = nn.Parameter(0.02 * torch.randn(options.dim)) if learned else None
        rates = drop_path_rates(options.drop_path, options.layers)
        mixers = [self.make_mixer(index) for index in range(options.layers)]
        self.blocks = nn.ModuleList(
            MixerBlock(options.dim, mixer, rate, options.mlp_ratio) for mixer, rate in zip(mixers, rates, strict=True)
        )
        self.norm = nn.LayerNorm(options.dim)
        self.head: nn.Module = AttentionHead(options.dim, out_dim, options)
        if options.regions:
            self.head = MultiScaleHead(options.dim, out_dim, 1 + len(options.regions), options)

    @abstractmethod
    def make_mixer(self, index: int) -> nn.Module:
        """Return the mixer of block `index`: a module from ((1, rows, cols, dim), `Lattice2D`) to the same raster."""

    @property
    def skips_gaps(self) -> bool:
        """Whether the mixers work on (1, N, dim) tokens, and there is nothing in the cells between them."""
        return False

    def encode(self, bag: Bag) -> Tensor:
        """Return (N, dim) tokens of the patches, each knowing its neighbourhood."""
        if self.options.pieces == "apart":
            return self._encode_apart(bag)
        lattice = Lattice2D.of(bag, self.options.grid_shape)
        tokens: Tensor = self.norm(self._mixed(self.project(bag.features), lattice))
        return tokens

    def _encode_apart(self, bag: Bag) -> Tensor:
        tokens = self.project(bag.features)
        members = connected_pieces(bag)
        mixed = [self._mixed(tokens[m], Lattice2D.of(Bag(tokens[m], bag.grid[m], bag.grid_shape))) for m in members]
        back: Tensor = self.norm(torch.cat(mixed).index_select(0, torch.argsort(torch.cat(members))))
        return back

    def _mixed(self, tokens: Tensor, lattice: Lattice2D) -> Tensor:
        """Return (N, dim) tokens after the last block."""
        if self.skips_gaps:
            cells = self._through(self.blocks, Cells(lattice, tokens.unsqueeze(0)))
            return cells.raster().squeeze(0)
        last = self.blocks[-1]
        assert isinstance(last, MixerBlock)
        return last.at_patches(self._through(self.blocks[:-1], self._laid(tokens, lattice)))

    def _laid(self, tokens: Tensor, lattice: Lattice2D) -> Cells:
        empty = tokens.new_zeros(tokens.shape[1]) if self.background is None else self.background.to(tokens.dtype)
        return Cells(lattice, empty, tokens)

    @staticmethod
    def _through(blocks: Iterable[nn.Module], cells: Cells) -> Cells:
        for block in blocks:
            cells = block(cells)
        return cells

    def pool(self, tokens: Tensor) -> SlideOutput:
        """Return the output of attention pooling over (N, dim) tokens, without regions."""
        output: SlideOutput = self.head(tokens)
        return output

    def forward(self, case: Bag | Sequence[Bag]) -> SlideOutput:
        """Return the output for one case: a bag, or the bags of all its slides."""
        bags = [case] if isinstance(case, Bag) else list(case)
        if self.options.pooling == "all":
            return self._pool_all_cells(bags)
        if not self.options.regions:
            return super().forward(bags)
        tokens = torch.cat([self.encode(bag) for bag in bags])
        pooled: SlideOutput = self.head(tokens, [region_indices(bags, side) for side in self.options.regions])
        return pooled

    def _pool_all_cells(self, bags: Sequence[Bag]) -> SlideOutput:
        cells, patches, before = [], [], 0
        for bag in bags:
            lattice = Lattice2D.of(bag, self.options.grid_shape)
            mixed = self._through(self.blocks, self._laid(self.project(bag.features), lattice))
            cells.append(mixed.raster().flatten(0, 2))
            patches.append(lattice.cells + before)
            before += lattice.rows * lattice.cols
        pooled: SlideOutput = self.head(self.norm(torch.cat(cells)), torch.cat(patches))
        return pooled
