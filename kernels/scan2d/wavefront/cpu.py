"""The wavefront recurrence on the CPU: blocks of channels, exponentials by torch, the recurrence by Numba.

A block's decays and states fit the cache; the backward recomputes the states, so nothing is saved.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from scan2d.cpu.compiled import entry_point

BLOCK = 16
"""Channels that are computed together; the innermost, vectorised axis."""


@entry_point
def _states(a_top, a_left, step_top, step_left, u, B, h):
    """Fill h (H, W, N, block) from decays of that shape, steps and u (H, W, block), B (H, W, N)."""
    height, width, states, block = h.shape
    for i in range(height):
        for j in range(width):
            top, left = _weights(i, j)
            for n in range(states):
                for c in range(block):
                    value = B[i, j, n] * u[i, j, c] * (top * step_top[i, j, c] + left * step_left[i, j, c])
                    if i > 0:
                        value += top * a_top[i, j, n, c] * h[i - 1, j, n, c]
                    if j > 0:
                        value += left * a_left[i, j, n, c] * h[i, j - 1, n, c]
                    h[i, j, n, c] = value


@entry_point
def _adjoint(
    dy, a_top, a_left, step_top, step_left, u, A_top, A_left, B, C, h, du, d_top, d_left, dA_top, dA_left, dB, dC, carry
):
    """Add the gradients of one block; `carry` (W + 1, 2, N, block) holds what flows up and left, zero at first."""
    height, width, states, block = h.shape
    for i in range(height - 1, -1, -1):
        carry[width, 1] = 0.0
        for j in range(width - 1, -1, -1):
            top, left = _weights(i, j)
            for n in range(states):
                for c in range(block):
                    # λ = dy·C + what the cell below and the cell to the right pass back.
                    lam = dy[i, j, c] * C[i, j, n] + carry[j, 0, n, c] + carry[j + 1, 1, n, c]
                    dC[i, j, n] += dy[i, j, c] * h[i, j, n, c]
                    from_top = top * lam * a_top[i, j, n, c]
                    from_left = left * lam * a_left[i, j, n, c]
                    weight = top * step_top[i, j, c] + left * step_left[i, j, c]
                    du[i, j, c] += lam * weight * B[i, j, n]
                    dB[i, j, n] += lam * weight * u[i, j, c]
                    entering = lam * u[i, j, c] * B[i, j, n]
                    d_top[i, j, c] += top * entering
                    d_left[i, j, c] += left * entering
                    if i > 0:
                        d_top[i, j, c] += from_top * h[i - 1, j, n, c] * A_top[n, c]
                        dA_top[n, c] += from_top * h[i - 1, j, n, c] * step_top[i, j, c]
                    if j > 0:
                        d_left[i, j, c] += from_left * h[i, j - 1, n, c] * A_left[n, c]
                        dA_left[n, c] += from_left * h[i, j - 1, n, c] * step_left[i, j, c]
                    carry[j, 0, n, c] = from_top
                    carry[j, 1, n, c] = from_left


@entry_point
def _weights(i, j):
    top = 0.0 if i == 0 else (1.0 if j == 0 else 0.5)
    return np.float32(top), np.float32(1.0 - top)


def forward(
    u: Tensor, step_top: Tensor, step_left: Tensor, A_top: Tensor, A_left: Tensor, B: Tensor, C: Tensor
) -> Tensor:
    """Return y (batch, H, W, dim) of float32 tensors shaped as in `reference.scan`."""
    y = torch.empty_like(u, memory_format=torch.contiguous_format)
    for item in range(len(u)):
        for block in _blocks(u.shape[-1]):
            h, _ = _block_states(u[item], step_top[item], step_left[item], A_top, A_left, B[item], block)
            y[item, ..., block] = torch.einsum("ijnc,ijn->ijc", h, C[item])
    return y


def backward(
    dy: Tensor, u: Tensor, step_top: Tensor, step_left: Tensor, A_top: Tensor, A_left: Tensor, B: Tensor, C: Tensor
) -> tuple[Tensor, ...]:
    """Return the gradients of u, step_top, step_left, A_top, A_left, B, C."""
    gradients = [torch.zeros_like(t, memory_format=torch.contiguous_format) for t in (u, step_top, step_left)]
    dA = [torch.zeros_like(t, memory_format=torch.contiguous_format) for t in (A_top, A_left)]
    dB, dC = (torch.zeros_like(t, memory_format=torch.contiguous_format) for t in (B, C))
    for item in range(len(u)):
        for block in _blocks(u.shape[-1]):
            h, inputs = _block_states(u[item], step_top[item], step_left[item], A_top, A_left, B[item], block)
            parts = [torch.zeros_like(inputs[4]) for _ in range(3)]
            rates = [t[block].T.contiguous() for t in (A_top, A_left)]
            d_rates = [torch.zeros_like(t) for t in rates]
            carry = torch.zeros(u.shape[2] + 1, 2, *rates[0].shape)
            tensors = (
                dy[item, ..., block].contiguous(), *inputs[:5], *rates, inputs[5], C[item].contiguous(),
                h, *parts, *d_rates, dB[item], dC[item], carry,
            )  # fmt: skip
            _adjoint(*(t.numpy() for t in tensors))
            for whole, part in zip(gradients, parts, strict=True):
                whole[item, ..., block] = part
            for whole, part in zip(dA, d_rates, strict=True):
                whole[block] += part.T
    return (*gradients, *dA, dB, dC)


def _blocks(dim: int) -> list[slice]:
    return [slice(start, min(start + BLOCK, dim)) for start in range(0, dim, BLOCK)]


def _block_states(
    u: Tensor, step_top: Tensor, step_left: Tensor, A_top: Tensor, A_left: Tensor, B: Tensor, block: slice
) -> tuple[Tensor, tuple[Tensor, ...]]:
    top, left, x = (t[..., block].contiguous() for t in (step_top, step_left, u))
    a_top = torch.exp(top.unsqueeze(-2) * A_top[block].T)
    a_left = torch.exp(left.unsqueeze(-2) * A_left[block].T)
    h = torch.empty_like(a_top)
    inputs = (a_top, a_left, top, left, x, B.contiguous())
    _states(*(t.numpy() for t in (*inputs, h)))
    return h, inputs
