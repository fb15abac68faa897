"""CLAM: attention pooling that also learns to tell patches apart (Lu et al., Nat. Biomed. Eng. 2021, arXiv 2004.09666).

`clam-sb` has one attention branch, `clam-mb` one per class. Equation numbers below are unconfirmed.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from wsi2dmamba.models.base import Aggregator, Bag, SlideOutput
from wsi2dmamba.models.parts.pooling import AttentionOptions, AttentionScores, additive_logits
from wsi2dmamba.models.parts.projection import Projection, ProjectionOptions


class ClamOptions(ProjectionOptions, AttentionOptions):
    """Options of CLAM.

    Attributes
    ----------
    instances
        Patches of highest and of lowest attention that the instance loss takes as examples.
    instance_weight
        Weight of the instance loss; 0: plain gated attention. Published: 0.3 of the total against 0.7 for the slide,
        here relative to a slide loss of weight 1.
    exclusive
        Whether classes exclude each other, so that the most attended patches of the other classes' branches are
        negative examples.
    """

    activation: Literal["gelu", "relu", "none"] = "relu"
    gated: bool = True
    instances: int = Field(8, ge=1, le=1000)
    instance_weight: float = Field(0.43, ge=0.0)
    exclusive: bool = True


class _Clam(Aggregator):
    """What both forms share: projection, attention branches, instance classifiers."""

    def __init__(self, in_dim: int, out_dim: int, options: ClamOptions, branches: int) -> None:
        super().__init__(in_dim, out_dim)
        self.instances, self.instance_weight, self.exclusive = (
            options.instances,
            options.instance_weight,
            options.exclusive,
        )
        self.project = Projection(in_dim, options)
        self.attention = AttentionScores(options.dim, options.attention_dim, options.gated, heads=branches)
        # A single output has no classes to tell patches of: then there is no instance loss and nothing to learn for it.
        self.instance_classifiers = nn.ModuleList(
            nn.Linear(options.dim, 2) for _ in range(out_dim if out_dim > 1 and options.instance_weight else 0)
        )

    def encode(self, bag: Bag) -> Tensor:
        """Return (N, dim) projected patches."""
        return self.project(bag.features)

    def instance_loss(self, tokens: Tensor, weights: Tensor) -> Tensor | None:
        """Return the weighted clustering loss of (N, dim) tokens and (branches, N) attention, if there is a label.

        In the branch of the true class the most attended patches are positive and the least attended negative
        examples; in the others the most attended are negative ones (section "Instance-level clustering").
        The loss is cross-entropy, the default of the published code's classes, against which this was held.
        """
        label = self.training_label
        if not self.training or label is None or not self.instance_classifiers:
            return None
        count = min(self.instances, len(tokens))
        losses = []
        for index, classifier in enumerate(self.instance_classifiers):
            branch = weights[index if len(weights) > 1 else 0]
            most = classifier(tokens[branch.topk(count).indices])
            if index == label:
                least = classifier(tokens[branch.topk(count, largest=False).indices])
                targets = torch.arange(2, device=tokens.device).flip(0).repeat_interleave(count)
                losses.append(nn.functional.cross_entropy(torch.cat([most, least]), targets))
            elif self.exclusive:
                losses.append(nn.functional.cross_entropy(most, torch.zeros_like(most[:, 0], dtype=torch.long)))
        return self.instance_weight * torch.stack(losses).mean()


class ClamSB(_Clam):
    """CLAM with a single attention branch: gated attention pooling (eq. 1 and 2), a linear head, the instance loss.

    Parameters
    ----------
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs that the task asks for.
    options
        See `ClamOptions`.
    """

    Options = ClamOptions

    def __init__(self, in_dim: int, out_dim: int, options: ClamOptions) -> None:
        super().__init__(in_dim, out_dim, options, branches=1)
        self.classifier = nn.Linear(options.dim, out_dim)

    def pool(self, tokens: Tensor) -> SlideOutput:
        """Return the output for (N, dim) tokens."""
        weights = torch.softmax(self.attention(tokens), dim=0).T
        return SlideOutput(
            logits=self.classifier(weights[0] @ tokens),
            attention=weights[0].detach(),
            patch_logits=additive_logits(self.classifier, tokens, weights[0]),
            auxiliary_loss=self.instance_loss(tokens, weights),
        )


class ClamMB(_Clam):
    """CLAM with an attention branch and a one-output head per class (eq. 1 to 3), and the instance loss.

    The attention that is returned is the mean over branches.

    Parameters
    ----------
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs that the task asks for.
    options
        See `ClamOptions`.
    """

    Options = ClamOptions

    def __init__(self, in_dim: int, out_dim: int, options: ClamOptions) -> None:
        super().__init__(in_dim, out_dim, options, branches=out_dim)
        self.heads = nn.Linear(options.dim, out_dim)

    def pool(self, tokens: Tensor) -> SlideOutput:
        """Return the output for (N, dim) tokens."""
        weights = torch.softmax(self.attention(tokens), dim=0).T
        pooled = weights @ tokens
        with torch.no_grad():
            patch_logits = (tokens @ self.heads.weight.T) * weights.T
        return SlideOutput(
            logits=(pooled * self.heads.weight).sum(dim=1) + self.heads.bias,
            attention=weights.mean(dim=0).detach(),
            patch_logits=patch_logits,
            auxiliary_loss=self.instance_loss(tokens, weights),
        )
