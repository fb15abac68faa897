"""From the tokens of a transformer (or the map of a convolutional network) to one vector per patch."""

from __future__ import annotations

import torch
from torch import Tensor

from wsi2dmamba.core.errors import EncoderError


def pool_tokens(tokens: Tensor, rule: str, prefix_tokens: int) -> Tensor:
    """Return one vector per patch.

    Parameters
    ----------
    tokens
        (N, T, C) last hidden state; the first token is the class token, the next ones up to `prefix_tokens` are
        registers, the rest lie on the patch's grid. (N, C, h, w) maps of convolutional networks are averaged.
    rule
        ``cls`` (the class token), ``mean`` (average of the grid tokens) or ``cls+mean`` (both, 2·C numbers, as
        Virchow and Midnight do).
    prefix_tokens
        Number of tokens before the grid.

    Raises
    ------
    EncoderError
        If the rule needs a class token and there is none.
    """
    if tokens.ndim == 4:
        if rule not in ("mean", "pooler"):
            raise EncoderError(f"pooling {rule!r} needs tokens, but this network returns maps; use --pooling mean")
        return tokens.mean((2, 3))
    if tokens.ndim == 2:
        return tokens
    if rule == "mean":
        return tokens[:, prefix_tokens:].mean(1)
    if prefix_tokens < 1:
        raise EncoderError(f"pooling {rule!r} needs a class token, but this network has none; use --pooling mean")
    if rule == "cls":
        return tokens[:, 0]
    return torch.cat([tokens[:, 0], tokens[:, prefix_tokens:].mean(1)], dim=1)
