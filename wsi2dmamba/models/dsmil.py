"""DSMIL: the critical patch of every class, and attention to what resembles it (Li et al., CVPR 2021)."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from wsi2dmamba.models.base import Aggregator, Bag, SlideOutput
from wsi2dmamba.models.parts.projection import Projection, ProjectionOptions


class DSMIL(Aggregator):
    """Mean of two streams (arXiv 2011.08939): c = ½·(max of patch scores + score of the attended bag), eq. 9.

    First stream: a linear classifier scores every patch for every class; the patch of highest score is that class's
    critical one (eq. 4). Second: queries q = W_q·h of all patches meet the critical patch's; the softmax of their
    products weighs the values v = W_v·h (eq. 6 and 7), and a convolution over the classes' bag vectors scores them
    (eq. 8). The products are divided by the root of the queries' width, as in the published code. The paper trains both
    streams; here the task's loss is on their mean, as in its inference. (Formulas held against the published code;
    equation numbers unconfirmed. Later versions of that code put a layer with ReLU and tanh into the queries.)

    Parameters
    ----------
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs that the task asks for.
    options
        See `DSMIL.Options`.
    """

    class Options(ProjectionOptions):
        """Options of DSMIL: those of the projection, and the queries.

        Attributes
        ----------
        query_dim
            Width of the queries.
        """

        query_dim: int = Field(128, ge=1, le=4096)

    def __init__(self, in_dim: int, out_dim: int, options: Options) -> None:
        super().__init__(in_dim, out_dim)
        self.project = Projection(in_dim, options)
        self.patch_classifier = nn.Linear(options.dim, out_dim)
        self.query = nn.Linear(options.dim, options.query_dim)
        self.value = nn.Linear(options.dim, options.dim)
        self.bag_classifier = nn.Conv1d(out_dim, out_dim, kernel_size=options.dim)

    def encode(self, bag: Bag) -> Tensor:
        """Return (N, dim) projected patches."""
        return self.project(bag.features)

    def pool(self, tokens: Tensor) -> SlideOutput:
        """Return the output for (N, dim) tokens; the attention is the mean over classes."""
        scores = self.patch_classifier(tokens)
        critical = scores.argmax(dim=0)
        queries = self.query(tokens)
        products = queries @ queries[critical].T / queries.shape[1] ** 0.5
        weights = torch.softmax(products, dim=0)
        bags = weights.T @ self.value(tokens)
        bag_scores = self.bag_classifier(bags.unsqueeze(0)).view(-1)
        return SlideOutput(
            logits=(scores.amax(dim=0) + bag_scores) / 2,
            attention=weights.mean(dim=1).detach(),
        )
