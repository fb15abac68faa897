"""Multi-scale pooling: attention over patches, and over square regions of them, joined before a linear head.

A region's token is the mean over its tissue, so the pooled vector stays a weighted sum of patches at every scale, and
what each patch adds to the logits is exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wsi2dmamba.models.base import Bag, SlideOutput
from wsi2dmamba.models.parts.pooling import AttentionOptions, AttentionScores, additive_logits


def region_indices(bags: Sequence[Bag], side: int) -> Tensor:
    """Return (N,) int64: which side × side region each patch of all bags lies in, counted over the bags.

    Regions start at the top-left of each bag's tissue; those without tissue are not counted.
    """
    found, before = [], 0
    for bag in bags:
        coarse = (bag.grid - bag.grid.amin(dim=0)) // side
        cells = coarse[:, 0] * (coarse[:, 1].amax() + 1) + coarse[:, 1]
        regions, index = torch.unique(cells, return_inverse=True)
        found.append(index + before)
        before += len(regions)
    return torch.cat(found)


def region_means(tokens: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """Return (R, width) means of (N, width) tokens over their regions, and (R,) how many tokens each has."""
    counts = torch.bincount(index)
    sums = tokens.new_zeros(len(counts), tokens.shape[1]).index_add(0, index, tokens)
    return sums / counts.unsqueeze(1).to(tokens.dtype), counts


class MultiScaleHead(nn.Module):
    """Softmax attention at every scale, pooled vectors side by side, a linear head.

    With w_s the attention at scale s over regions r of n_r patches, the logits are Σ_s W_s Σ_r w_s[r]·mean_r + bias,
    so patch i adds Σ_s w_s[r(i)] / n_r(i) · W_s·token_i.

    Parameters
    ----------
    width
        Width of the tokens.
    out_dim
        Number of outputs.
    scales
        How many scales there are, patches among them.
    options
        Hidden width and gate of each scale's attention.
    """

    def __init__(self, width: int, out_dim: int, scales: int, options: AttentionOptions) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(
            AttentionScores(width, options.attention_dim, options.gated) for _ in range(scales)
        )
        self.classifier = nn.Linear(scales * width, out_dim)

    def forward(self, tokens: Tensor, regions: Sequence[Tensor]) -> SlideOutput:
        """Pool tokens.

        Parameters
        ----------
        tokens
            (N, width) tokens of all patches of a case.
        regions
            For each scale above the patches, (N,) the region of every patch (`region_indices`).

        Returns
        -------
        SlideOutput
            The attention of a patch is its share of its region's, averaged over scales.
        """
        weights = [torch.softmax(self.attentions[0](tokens).squeeze(-1), dim=0)]
        for attention, index in zip(self.attentions[1:], regions, strict=True):
            means, counts = region_means(tokens, index)
            share = torch.softmax(attention(means).squeeze(-1), dim=0) / counts
            weights.append(share.index_select(0, index))
        per_scale = torch.stack(weights, dim=1)
        pooled = torch.cat([weight @ tokens for weight in weights])
        weighted = (per_scale.unsqueeze(2) * tokens.unsqueeze(1)).detach().flatten(1)
        return SlideOutput(
            logits=self.classifier(pooled),
            attention=per_scale.mean(dim=1).detach(),
            patch_logits=additive_logits(self.classifier, weighted, tokens.new_ones(len(tokens))),
        )
