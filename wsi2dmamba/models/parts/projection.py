"""Features to tokens: the first layer of every aggregator, and the options it takes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from wsi2dmamba.core.validation import Settings


class ProjectionOptions(Settings):
    """Options of the first layer, shared by all aggregators.

    Attributes
    ----------
    dim
        Width of the tokens.
    dropout
        Probability of dropping a token's channel after the projection, while training.
    activation
        Non-linearity after the projection; "none" for a linear one.
    standardise
        "slide": every feature is first brought to mean 0 and standard deviation 1 over the patches of its slide. It
        takes away how strongly the slide was stained, and helps features whose scales differ (`texture` does); it
        also takes away what all patches of the slide have in common. "none": features as they are stored.
    """

    dim: int = Field(128, ge=1, le=8192)
    dropout: float = Field(0.25, ge=0.0, lt=1.0)
    activation: Literal["gelu", "relu", "none"] = "gelu"
    standardise: Literal["none", "slide"] = "none"


_ACTIVATIONS: dict[str, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU, "none": nn.Identity}


class Projection(nn.Sequential):
    """Linear → activation → dropout.

    Parameters
    ----------
    in_dim
        Number of features per patch.
    options
        Width, dropout, activation.
    """

    def __init__(self, in_dim: int, options: ProjectionOptions) -> None:
        linear = nn.Linear(in_dim, options.dim)
        super().__init__(linear, _ACTIVATIONS[options.activation](), nn.Dropout(options.dropout))
        self._standardise = options.standardise == "slide"

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, dim) tokens of the (N, in_dim) features of one slide, of any floating dtype."""
        features = features.to(next(self.parameters()).dtype)
        tokens: Tensor = super().forward(standardised(features) if self._standardise else features)
        return tokens


def standardised(features: Tensor) -> Tensor:
    """Return (N, D) features with mean 0 and standard deviation 1 over N.

    A feature that hardly varies on the slide (less than about `_LEAST_SPREAD`) is not blown up to noise.
    """
    centered = features - features.mean(dim=0, keepdim=True)
    return centered / (centered.square().mean(dim=0, keepdim=True).sqrt() + _LEAST_SPREAD)


_LEAST_SPREAD = 0.01
