"""Max pooling: the strongest patch of every channel."""

from __future__ import annotations

from torch import Tensor

from wsi2dmamba.models.base import Aggregator, Bag, SlideOutput
from wsi2dmamba.models.parts.pooling import MaxHead
from wsi2dmamba.models.parts.projection import Projection, ProjectionOptions


class MaxPooling(Aggregator):
    """Maximum of every channel over the projected patches, then a linear head.

    Parameters
    ----------
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs that the task asks for.
    options
        See `MaxPooling.Options`.
    """

    class Options(ProjectionOptions):
        """Options of max pooling: those of the projection."""

    def __init__(self, in_dim: int, out_dim: int, options: Options) -> None:
        super().__init__(in_dim, out_dim)
        self.project = Projection(in_dim, options)
        self.head = MaxHead(options.dim, out_dim)

    def encode(self, bag: Bag) -> Tensor:
        """Return (N, dim) projected patches."""
        return self.project(bag.features)

    def pool(self, tokens: Tensor) -> SlideOutput:
        """Return the output for the channel-wise maximum of (N, dim) tokens."""
        output: SlideOutput = self.head(tokens)
        return output
