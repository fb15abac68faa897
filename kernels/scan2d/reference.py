"""The definition in plain torch: slow, readable, any dtype; the oracle of the tests.

`scan` is the equations, differentiable by autograd. `forward` and `backward` make it a backend; `backward`
is written out because autograd does not run inside an operator, and the tests hold it against
autograd. Rows and columns are loops; within a step everything is vectorised. Memory is of order
batch·dim·N·H·W.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from scan2d.backends import Gradients


def scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    start: str = "top-left",
    lengths: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Compute the 2D selective scan from its definition; autograd differentiates it.

    Parameters are those of `scan2d.selective_scan_2d`, with B and C always (batch, groups, N, H, W).

    Returns
    -------
    Tensor, shape (batch, dim, H, W)
        In the dtype of `u`; computed in float64 if any input is, else in float32.
    """
    items = []
    for index, (rows, columns) in enumerate(_item_sizes(u, lengths)):
        gaps = None if mask is None else ~_item(mask, index, rows, columns, start)
        u_item, delta_item, B_item, C_item = (_item(x, index, rows, columns, start, gaps) for x in (u, delta, B, C))
        z_item = None if z is None else _item(z, index, rows, columns, start, gaps)
        y = _scan_from_top_left(u_item, delta_item, A, B_item, C_item, D, z_item, delta_bias, delta_softplus, gaps)
        y = _turned(_zero_in(gaps, y), start)
        items.append(F.pad(y, (0, u.shape[3] - columns, 0, u.shape[2] - rows)))
    return torch.cat(items).to(u.dtype)


def saved_shape(batch: int, dim: int, groups: int, states: int, height: int, width: int) -> tuple[int, ...]:
    """Return the shape of what `forward` saves: nothing."""
    return (0,)


def forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    start: str,
    lengths: Tensor | None,
    mask: Tensor | None,
    save: bool,
) -> tuple[Tensor, Tensor]:
    """Backend form of `scan`; see `scan2d.backends`."""
    out = scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus, start, lengths, mask)
    return out, u.new_empty(0, dtype=torch.float32)


def backward(
    dout: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    saved: Tensor,
    delta_softplus: bool,
    start: str,
    lengths: Tensor | None,
    mask: Tensor | None,
) -> Gradients:
    """Gradient of `scan` by the two reversed recurrences; see docs/operator.md and `scan2d.backends`."""
    dtype = _compute_dtype(u, delta, A, B, C, D, z, delta_bias)
    du, ddelta, dB, dC = (torch.zeros_like(x, dtype=dtype) for x in (u, delta, B, C))
    dz = None if z is None else torch.zeros_like(z, dtype=dtype)
    dA = torch.zeros_like(A, dtype=dtype)
    dD = None if D is None else torch.zeros_like(D, dtype=dtype)
    dbias = None if delta_bias is None else torch.zeros_like(delta_bias, dtype=dtype)
    for index, (rows, columns) in enumerate(_item_sizes(u, lengths)):
        gaps = None if mask is None else ~_item(mask, index, rows, columns, start)
        dout_item, u_item, delta_item, B_item, C_item = (
            _item(x, index, rows, columns, start, gaps) for x in (dout, u, delta, B, C)
        )
        z_item = None if z is None else _item(z, index, rows, columns, start, gaps)
        grads = _item_gradients(
            dout_item, u_item, delta_item, B_item, C_item, z_item, A, D, delta_bias, delta_softplus, gaps
        )
        per_cell = ((du, 0), (ddelta, 1), (dB, 2), (dC, 3), (dz, 4))
        for total, which in per_cell:
            if total is not None:
                total[index : index + 1, ..., :rows, :columns] = _turned(grads[which], start)
        dA += grads[5]
        if dD is not None:
            dD += grads[6]
        if dbias is not None:
            dbias += grads[7]
    return du, ddelta, dA, dB, dC, dD, dz, dbias


def _compute_dtype(*tensors: Tensor | None) -> torch.dtype:
    double = any(t is not None and t.dtype == torch.float64 for t in tensors)
    return torch.float64 if double else torch.float32


def _item_sizes(u: Tensor, lengths: Tensor | None) -> list[tuple[int, int]]:
    if lengths is None:
        return [(u.shape[2], u.shape[3])] * u.shape[0]
    return [(int(rows), int(columns)) for rows, columns in lengths.tolist()]


def _item(x: Tensor, index: int, rows: int, columns: int, start: str, gaps: Tensor | None = None) -> Tensor:
    """One item of the batch, cut to its own size, turned so that the scan starts at the top left, zero in gaps."""
    return _zero_in(gaps, _turned(x[index : index + 1, ..., :rows, :columns], start))


def _zero_in(gaps: Tensor | None, x: Tensor) -> Tensor:
    """x (1, …, rows, columns) with zeros in the skipped cells `gaps` (1, rows, columns), also instead of NaN."""
    return x if gaps is None else x.masked_fill(gaps.view(*[1] * (x.dim() - 2), *gaps.shape[1:]), 0)


def _turned(x: Tensor, start: str) -> Tensor:
    vertical, horizontal = start.split("-")
    dims = [-2] * (vertical == "bottom") + [-1] * (horizontal == "right")
    return x.flip(dims) if dims else x


def _step_size(delta: Tensor, delta_bias: Tensor | None, delta_softplus: bool) -> Tensor:
    if delta_bias is not None:
        delta = delta + delta_bias[:, None, None]
    # softplus without torch's linear threshold at 20, which would break float64 accuracy
    return torch.logaddexp(delta, torch.zeros_like(delta)) if delta_softplus else delta


def _per_channel(x: Tensor, dim: int) -> Tensor:
    """(batch, groups, N, H, W) to (batch, dim, N, H, W)."""
    return x.repeat_interleave(dim // x.shape[1], dim=1)


def _horizontal(a: Tensor, x: Tensor) -> Tensor:
    """g[j] = a[j]·g[j-1] + x[j] along the last axis."""
    columns = [x[..., 0]]
    for j in range(1, x.shape[-1]):
        columns.append(a[..., j] * columns[-1] + x[..., j])
    return torch.stack(columns, dim=-1)


def _vertical(a: Tensor, x: Tensor) -> Tensor:
    """h[i] = a[i]·h[i-1] + x[i] along the last but one axis."""
    return _horizontal(a.transpose(-1, -2), x.transpose(-1, -2)).transpose(-1, -2)


def _scan_from_top_left(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    gaps: Tensor | None,
) -> Tensor:
    dtype, dim = _compute_dtype(u, delta, A, B, C, D, z, delta_bias), u.shape[1]
    u, A = u.to(dtype), A.to(dtype)
    B, C = _per_channel(B.to(dtype), dim), _per_channel(C.to(dtype), dim)
    step = _step_size(delta.to(dtype), None if delta_bias is None else delta_bias.to(dtype), delta_softplus)
    step = _zero_in(gaps, step)  # so a = 1 and nothing is added there
    a = torch.exp(step[:, :, None] * A[:, :, None, None])
    g = _horizontal(a, (step * u)[:, :, None] * B)
    h = _vertical(a, _zero_in(gaps, g))
    y = (C * h).sum(dim=2)
    if D is not None:
        y = y + D.to(dtype)[:, None, None] * u
    return y if z is None else y * F.silu(z.to(dtype))


def _item_gradients(
    dout: Tensor,
    u: Tensor,
    delta: Tensor,
    B: Tensor,
    C: Tensor,
    z: Tensor | None,
    A: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    gaps: Tensor | None,
) -> tuple[Tensor, ...]:
    """Return (du, ddelta, dB, dC, dz, dA, dD, ddelta_bias) of one item turned to start at the top left."""
    dtype, dim, groups = _compute_dtype(dout, u, delta, A, B, C, D, z, delta_bias), u.shape[1], B.shape[1]
    dout, u, A = dout.to(dtype), u.to(dtype), A.to(dtype)
    B, C = _per_channel(B.to(dtype), dim), _per_channel(C.to(dtype), dim)
    bias = None if delta_bias is None else delta_bias.to(dtype)
    raw = delta.to(dtype) if bias is None else delta.to(dtype) + bias[:, None, None]
    step = _zero_in(gaps, _step_size(raw, None, delta_softplus))
    skip = torch.zeros_like(A[:, 0]) if D is None else D.to(dtype)

    a = torch.exp(step[:, :, None] * A[:, :, None, None])
    g = _horizontal(a, (step * u)[:, :, None] * B)
    h = _vertical(a, _zero_in(gaps, g))

    dy, dz = dout, torch.zeros_like(dout)
    if z is not None:
        z = z.to(dtype)
        s = torch.sigmoid(z)
        y = (C * h).sum(dim=2) + skip[:, None, None] * u
        dz = dout * y * s * (1 + z * (1 - s))
        dy = dout * z * s

    # λ = ∂loss/∂h and μ = ∂loss/∂g: the same recurrences, run backwards with a of the following cell
    lam = _vertical(_next(a, -2).flip(-2), (dy[:, :, None] * C).flip(-2)).flip(-2)
    mu = _horizontal(_next(a, -1).flip(-1), _zero_in(gaps, lam).flip(-1)).flip(-1)
    w = a * (lam * _previous(h, -2) + mu * _previous(g, -1))  # ∂loss/∂(log a)

    d_input = (mu * B).sum(dim=2)  # ∂loss/∂(Δ·u)
    d_step = _zero_in(gaps, (w * A[:, :, None, None]).sum(dim=2) + u * d_input)
    d_raw = d_step * torch.sigmoid(raw) if delta_softplus else d_step
    by_group = (1, groups, dim // groups, *B.shape[2:])
    dB = (mu * (step * u)[:, :, None]).reshape(by_group).sum(dim=2)
    dC = (dy[:, :, None] * h).reshape(by_group).sum(dim=2)
    dA = (w * step[:, :, None]).sum(dim=(0, 3, 4))
    du = skip[:, None, None] * dy + step * d_input
    return du, d_raw, dB, dC, dz, dA, (dy * u).sum(dim=(0, 2, 3)), d_raw.sum(dim=(0, 2, 3))


def _previous(x: Tensor, axis: int) -> Tensor:
    """x of the cell before along `axis`, zero before the first."""
    zero = torch.zeros_like(x.narrow(axis, 0, 1))
    return torch.cat([zero, x.narrow(axis, 0, x.shape[axis] - 1)], dim=axis)


def _next(x: Tensor, axis: int) -> Tensor:
    """x of the cell after along `axis`, zero after the last."""
    zero = torch.zeros_like(x.narrow(axis, 0, 1))
    return torch.cat([x.narrow(axis, 1, x.shape[axis] - 1), zero], dim=axis)
