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
    """

    dim: int = Field(128, ge=1, le=8192)
    dropout: float = Field(0.25, ge=0.0, lt=1.0)
    activation: Literal["gelu", "relu", "none"] = "gelu"


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

    def forward(self, features: Tensor) -> Tensor:
        """Return (N, dim) tokens of (N, in_dim) features of any floating dtype."""
        tokens: Tensor = super().forward(features.to(next(self.parameters()).dtype))
        return tokens
