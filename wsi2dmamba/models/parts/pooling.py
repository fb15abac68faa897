"""Tokens to one output: attention, mean and max pooling with a linear head.

All three are weighted sums of tokens, so what each patch adds to the logits can be told apart exactly.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from wsi2dmamba.core.validation import Settings
from wsi2dmamba.models.base import SlideOutput


class AttentionOptions(Settings):
    """Options of attention pooling.

    Attributes
    ----------
    attention_dim
        Hidden width of the attention network.
    gated
        Whether a sigmoid gate multiplies the tanh branch (Ilse et al., eq. 9) or not (eq. 8).
    """

    attention_dim: int = Field(128, ge=1, le=8192)
    gated: bool = False


class AttentionScores(nn.Module):
    """One attention score per token (Ilse et al., arXiv 1802.04712, the exponents of eq. 8 and 9).

    Parameters
    ----------
    width
        Width of the tokens.
    hidden
        Width of the hidden layer.
    gated
        With a sigmoid gate (eq. 9), or without (eq. 8).
    heads
        Number of scores per token.
    """

    def __init__(self, width: int, hidden: int, gated: bool, heads: int = 1) -> None:
        super().__init__()
        self.value = nn.Linear(width, hidden)
        self.gate = nn.Linear(width, hidden) if gated else None
        self.score = nn.Linear(hidden, heads)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (N, heads) scores of (N, width) tokens."""
        hidden = torch.tanh(self.value(tokens))
        if self.gate is not None:
            hidden = hidden * torch.sigmoid(self.gate(tokens))
        scores: Tensor = self.score(hidden)
        return scores


class AttentionHead(nn.Module):
    """Softmax attention over tokens, then a linear head.

    Parameters
    ----------
    width
        Width of the tokens.
    out_dim
        Number of outputs.
    options
        Hidden width and gate.
    """

    def __init__(self, width: int, out_dim: int, options: AttentionOptions) -> None:
        super().__init__()
        self.attention = AttentionScores(width, options.attention_dim, options.gated)
        self.classifier = nn.Linear(width, out_dim)

    def forward(self, tokens: Tensor, patches: Tensor | None = None) -> SlideOutput:
        """Pool tokens.

        Parameters
        ----------
        tokens
            (M, width) tokens that share the softmax.
        patches
            Indices of the tokens that are patches, when others (empty cells) are pooled with them. The
            attention that is returned is that of the patches, scaled to sum to one.
        """
        weights = torch.softmax(self.attention(tokens).squeeze(-1), dim=0)
        logits = self.classifier(weights @ tokens)
        if patches is not None:
            tokens, weights = tokens[patches], weights[patches]
        return SlideOutput(
            logits=logits,
            attention=(weights / weights.sum()).detach(),
            patch_logits=additive_logits(self.classifier, tokens, weights),
        )


class MaxHead(nn.Module):
    """Maximum of every channel over tokens, then a linear head.

    Parameters
    ----------
    width
        Width of the tokens.
    out_dim
        Number of outputs.
    """

    def __init__(self, width: int, out_dim: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(width, out_dim)

    def forward(self, tokens: Tensor) -> SlideOutput:
        """Pool (N, width) tokens.

        A patch's attention is the share of channels in which it is the maximum, and it adds those channels' terms
        of the head to the logits.
        """
        strongest, winner = tokens.max(dim=0)
        width = tokens.shape[1]
        attention = tokens.new_zeros(len(tokens)).index_add(0, winner, tokens.new_full((width,), 1 / width))
        with torch.no_grad():
            terms = (self.classifier.weight * strongest).T
            patch_logits = terms.new_zeros(len(tokens), terms.shape[1]).index_add(0, winner, terms)
        return SlideOutput(self.classifier(strongest), attention, patch_logits)


def additive_logits(classifier: nn.Linear, tokens: Tensor, weights: Tensor) -> Tensor:
    """Return (N, out_dim): what each of (N, width) tokens adds, with its weight, to a linear head's logits."""
    with torch.no_grad():
        return nn.functional.linear(tokens, classifier.weight) * weights.unsqueeze(-1)
