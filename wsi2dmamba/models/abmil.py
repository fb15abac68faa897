"""ABMIL: attention-based multiple-instance learning (Ilse et al., ICML 2018, arXiv 1802.04712)."""

from __future__ import annotations

from torch import Tensor

from wsi2dmamba.models.base import Aggregator, Bag, SlideOutput
from wsi2dmamba.models.parts.pooling import AttentionHead, AttentionOptions
from wsi2dmamba.models.parts.projection import Projection, ProjectionOptions


class GatedAttentionMIL(Aggregator):
    """Attention over the projected patches, then a linear head; positions play no part.

    The attention is eq. 9 of the paper (gated), or eq. 8 with ``gated: false``; the pooled token is eq. 7.

    Parameters
    ----------
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs that the task asks for.
    options
        See `GatedAttentionMIL.Options`.
    """

    class Options(ProjectionOptions, AttentionOptions):
        """Options of ABMIL: those of the projection and of the attention, gated by default."""

        gated: bool = True

    def __init__(self, in_dim: int, out_dim: int, options: Options) -> None:
        super().__init__(in_dim, out_dim)
        self.project = Projection(in_dim, options)
        self.head = AttentionHead(options.dim, out_dim, options)

    def encode(self, bag: Bag) -> Tensor:
        """Return (N, dim) projected patches."""
        return self.project(bag.features)

    def pool(self, tokens: Tensor) -> SlideOutput:
        """Return the output of attention pooling over (N, dim) tokens."""
        return self.head(tokens)
