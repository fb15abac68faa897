"""Max pooling: the strongest patch of every channel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wsi2dmamba.models.base import Aggregator, Bag, SlideOutput
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
        self.classifier = nn.Linear(options.dim, out_dim)

    def encode(self, bag: Bag) -> Tensor:
        """Return (N, dim) projected patches."""
        return self.project(bag.features)

    def pool(self, tokens: Tensor) -> SlideOutput:
        """Return the output for the channel-wise maximum of (N, dim) tokens.

        A patch's attention is the share of channels in which it is the maximum, and it adds those channels' terms
        of the head to the logits.
        """
        strongest, winner = tokens.max(dim=0)
        width = tokens.shape[1]
        attention = tokens.new_zeros(len(tokens)).index_add(0, winner, tokens.new_full((width,), 1 / width))
        with torch.no_grad():
            terms = (self.classifier.weight * strongest).T
            patch_logits = terms.new_zeros(len(tokens), self.out_dim).index_add(0, winner, terms)
        return SlideOutput(self.classifier(strongest), attention, patch_logits)
