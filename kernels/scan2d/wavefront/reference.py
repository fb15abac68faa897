"""The wavefront recurrence in plain torch, one anti-diagonal at a time; the oracle, differentiated by autograd."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def scan(
    u: Tensor,
    delta_top: Tensor,
    delta_left: Tensor,
    A_top: Tensor,
    A_left: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
) -> Tensor:
    """Compute the output from its definition, in float64 if u or A is, else in float32.

    Parameters and returns as in `wavefront_scan_2d`.
    """
    wide = torch.float64 if torch.float64 in (u.dtype, A_top.dtype) else torch.float32
    x, top, left, b, c = (t.to(wide).permute(0, 2, 3, 1) for t in (u, delta_top, delta_left, B, C))
    y = _recurrence(x, F.softplus(top), F.softplus(left), A_top.to(wide), A_left.to(wide), b, c)
    if D is not None:
        y = y + x * D.to(wide)
    return y.permute(0, 3, 1, 2).to(u.dtype)


def _recurrence(
    u: Tensor, step_top: Tensor, step_left: Tensor, A_top: Tensor, A_left: Tensor, B: Tensor, C: Tensor
) -> Tensor:
    """Return Σₙ C·h (batch, H, W, dim) of tensors whose last axis is the channel or the state."""
    height, width = u.shape[1:3]
    a_top = torch.exp(step_top.unsqueeze(-1) * A_top)
    a_left = torch.exp(step_left.unsqueeze(-1) * A_left)
    x_top = (step_top * u).unsqueeze(-1) * B.unsqueeze(-2)
    x_left = (step_left * u).unsqueeze(-1) * B.unsqueeze(-2)
    diagonal = torch.zeros_like(a_top[:, :, 0])
    outputs = [torch.zeros_like(u[:, 0]) for _ in range(height + width - 1)]
    rows = torch.arange(height, device=u.device)
    for k in range(height + width - 1):
        cols = k - rows
        inside = rows[(cols >= 0) & (cols < width)]
        j = k - inside
        top, left = _terms_present(inside, j, u)
        above = torch.cat([torch.zeros_like(diagonal[:, :1]), diagonal[:, :-1]], dim=1)[:, inside]
        before = diagonal[:, inside]
        h = top * (a_top[:, inside, j] * above + x_top[:, inside, j])
        h = h + left * (a_left[:, inside, j] * before + x_left[:, inside, j])
        diagonal = torch.zeros_like(diagonal).index_copy(1, inside, h)
        outputs[k] = (h * C[:, inside, j].unsqueeze(-2)).sum(dim=-1)
    y = torch.zeros_like(u)
    for k, values in enumerate(outputs):
        cols = k - rows
        inside = rows[(cols >= 0) & (cols < width)]
        y = y.index_put((torch.arange(len(u), device=u.device)[:, None], inside, k - inside), values)
    return y


def _terms_present(i: Tensor, j: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the top and left terms: halves inside, one whole term in the first row (left) and column (top)."""
    top = torch.where(i == 0, 0.0, torch.where(j == 0, 1.0, 0.5))
    return top.to(like.dtype).view(-1, 1, 1), (1 - top).to(like.dtype).view(-1, 1, 1)
