"""TransMIL: Nyström self-attention with convolutional positions (Shao et al., NeurIPS 2021, arXiv 2106.00908)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from wsi2dmamba.models.base import Aggregator, Bag, SlideOutput
from wsi2dmamba.models.parts.lattice import Lattice2D
from wsi2dmamba.models.parts.nystrom import NystromAttention
from wsi2dmamba.models.parts.projection import Projection, ProjectionOptions


class TransMIL(Aggregator):
    """The TPT module of the paper (algorithm 2): squaring, attention, PPEG, attention, class token, linear head.

    Held against the published code (algorithm and figure numbers unconfirmed), whose dropout within the attention is
    left out. The list of patches, in row-major order, is filled from its front up to a square; PPEG (figure 4) adds
    depthwise convolutions of sizes 7, 5 and 3 of that square: not of the slide's own lattice. The patch attention that
    is returned is the class token's in the last layer, mean over heads, with negative values (the approximation can
    give them) cut to zero.

    Parameters
    ----------
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs that the task asks for.
    options
        See `TransMIL.Options`.
    """

    class Options(ProjectionOptions):
        """Options of TransMIL; the paper's width is 512 with 8 heads and 256 landmarks.

        Attributes
        ----------
        heads
            Attention heads; they divide `dim`.
        landmarks
            Landmarks of the attention; None: half of `dim`, as in the paper.
        """

        dropout: float = Field(0.0, ge=0.0, lt=1.0)
        heads: int = Field(8, ge=1, le=64)
        landmarks: int | None = Field(None, ge=1)

        @model_validator(mode="after")
        def _check_heads(self) -> TransMIL.Options:
            if self.dim % self.heads:
                raise ValueError(f"dim {self.dim} is not a multiple of heads {self.heads}")
            return self

    def __init__(self, in_dim: int, out_dim: int, options: Options) -> None:
        super().__init__(in_dim, out_dim)
        dim, marks = options.dim, options.landmarks or max(options.dim // 2, 1)
        self.project = Projection(in_dim, options)
        self.class_token = nn.Parameter(0.02 * torch.randn(dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.attentions = nn.ModuleList(NystromAttention(dim, options.heads, marks) for _ in range(2))
        self.positions = nn.ModuleList(nn.Conv2d(dim, dim, size, padding=size // 2, groups=dim) for size in (7, 5, 3))
        self.norm = nn.LayerNorm(dim)
        self.classifier = nn.Linear(dim, out_dim)

    def encode(self, bag: Bag) -> Tensor:
        """Return (N, dim) projected patches."""
        return self.project(bag.features)

    def forward(self, case: Bag | Sequence[Bag]) -> SlideOutput:
        """Return the output for one case: each bag's patches in row-major order, bags one after the other."""
        bags = [case] if isinstance(case, Bag) else list(case)
        order, before = [], 0
        for bag in bags:
            order.append(torch.argsort(Lattice2D.of(bag).cells) + before)
            before += len(bag)
        reading = torch.cat(order)
        output = self.pool(torch.cat([self.encode(bag) for bag in bags]).index_select(0, reading))
        return replace(output, attention=torch.zeros_like(output.attention).index_copy(0, reading, output.attention))

    def pool(self, tokens: Tensor) -> SlideOutput:
        """Return the output for (N, dim) tokens as one list."""
        side = math.ceil(math.sqrt(len(tokens)))
        filled = torch.cat([tokens, tokens[: side * side - len(tokens)]])
        x = torch.cat([self.class_token.to(filled.dtype).unsqueeze(0), filled])
        x = x + self.attentions[0](self.norms[0](x))[0]
        x = torch.cat([x[:1], self._with_positions(x[1:], side)])
        mixed, attention = self.attentions[1](self.norms[1](x))
        logits = self.classifier(self.norm((x + mixed)[0]))
        return SlideOutput(logits=logits, attention=_of_patches(attention.detach(), len(tokens)))

    def _with_positions(self, cells: Tensor, side: int) -> Tensor:
        square = cells.T.reshape(1, -1, side, side)
        for convolution in self.positions:
            square = square + convolution(cells.T.reshape(1, -1, side, side))
        return square.flatten(2).squeeze(0).T


def _of_patches(attention: Tensor, patches: int) -> Tensor:
    weights = attention[1 : 1 + patches].clamp_min(0)
    total = weights.sum()
    return weights / total if total > 0 else torch.full_like(weights, 1 / patches)
