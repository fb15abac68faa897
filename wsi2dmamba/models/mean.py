"""Mean pooling: the floor that every other model must beat."""

from __future__ import annotations

from torch import Tensor, nn

from wsi2dmamba.models.base import Aggregator, Bag, SlideOutput
from wsi2dmamba.models.parts.pooling import additive_logits
from wsi2dmamba.models.parts.projection import Projection, ProjectionOptions


class MeanPooling(Aggregator):
    """Mean of the projected patches, then a linear head.

    Parameters
    ----------
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs that the task asks for.
    options
        See `MeanPooling.Options`.
    """

    class Options(ProjectionOptions):
        """Options of mean pooling: those of the projection."""

    def __init__(self, in_dim: int, out_dim: int, options: Options) -> None:
        super().__init__(in_dim, out_dim)
        self.project = Projection(in_dim, options)
        self.classifier = nn.Linear(options.dim, out_dim)

    def encode(self, bag: Bag) -> Tensor:
        """Return (N, dim) projected patches."""
        return self.project(bag.features)

    def pool(self, tokens: Tensor) -> SlideOutput:
        """Return the output for the mean of (N, dim) tokens; every patch weighs the same."""
        weights = tokens.new_full((len(tokens),), 1 / len(tokens))
        return SlideOutput(
            logits=self.classifier(tokens.mean(dim=0)),
            attention=weights,
            patch_logits=additive_logits(self.classifier, tokens, weights),
        )
