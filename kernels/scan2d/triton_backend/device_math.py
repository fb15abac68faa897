"""Device functions that the forward and backward kernels share.

Tensors in the kernels are (rows, states, channels). Channels (and, where the program has more lanes than the tile
has channels, states) lie across lanes and warps, rows lie in registers. A walk along the rows is then a chain of
multiply-adds inside each thread: `pick_row` and the selects of `walk_down` and `walk_up` compile to nothing.
"""

# mypy: disable-error-code="no-untyped-def, no-any-return, type-arg, valid-type"
import inspect
from collections.abc import Callable
from typing import Any

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


def kernel(function: Callable[..., Any]) -> Any:
    """Make a Triton kernel that is compiled once per element type and tile, whatever the sizes and strides.

    Triton would compile again for every argument that becomes 1 or divisible by 16; nothing here gains from
    that, and bags of all sizes would pay for it.
    """
    runtime = [name for name in inspect.signature(function).parameters if name == name.lower()]
    return triton.jit(do_not_specialize=runtime)(function)


# log(1 + exp(x)) to single precision over the whole range. log1p(t) = 2·artanh(t / (2 + t)) by its series:
# the hardware logarithm has no relative accuracy near 1, and Δ = 0.001 sits there.
@triton.jit
def softplus(x):
    t = tl.exp2(-tl.abs(x) * LOG2_E)
    s = t / (2.0 + t)
    q = s * s
    series = 1.0 / 13.0
    series = series * q + 1.0 / 11.0
    series = series * q + 1.0 / 9.0
    series = series * q + 1.0 / 7.0
    series = series * q + 1.0 / 5.0
    series = series * q + 1.0 / 3.0
    series = series * q + 1.0
    return tl.maximum(x, 0.0) + 2.0 * s * series


@triton.jit
def sigmoid(x):
    t = tl.exp2(-tl.abs(x) * LOG2_E)
    return tl.where(x >= 0, 1.0, t) / (1.0 + t)


# One row of a (rows, states, channels) tile. The mask is a constant of each register, and integer sums with
# zero fold away, so this is a choice of registers, not work.
@triton.jit
def pick_row(x, row_index, row):
    bits = tl.where(row_index == row, x.to(tl.int32, bitcast=True), 0)
    return tl.sum(bits, axis=0).to(tl.float32, bitcast=True)


# h[i] = a[i]·h[i-1] + x[i] down the rows: h of every row, the inflow a[i]·h[i-1] of every row, the last h.
@triton.jit
def walk_down(a, x, h, row_index, ROWS: tl.constexpr):
    all_h = x
    all_inflow = x
    for row in tl.static_range(ROWS):
        inflow = pick_row(a, row_index, row) * h
        h = inflow + pick_row(x, row_index, row)
        all_h = tl.where(row_index == row, h[None, :, :], all_h)
        all_inflow = tl.where(row_index == row, inflow[None, :, :], all_inflow)
    return all_h, all_inflow, h


# λ[i] = c[i] + p[i+1], p[i] = a[i]·λ[i] up the rows, from p below them.
@triton.jit
def walk_up(a, c, p, row_index, ROWS: tl.constexpr):
    all_lambda = c
    for back in tl.static_range(ROWS):
        adjoint = pick_row(c, row_index, ROWS - 1 - back) + p
        p = pick_row(a, row_index, ROWS - 1 - back) * adjoint
        all_lambda = tl.where(row_index == ROWS - 1 - back, adjoint[None, :, :], all_lambda)
    return all_lambda


# Rows and columns of one item of the batch: the whole grid, or its own rectangle if the batch is ragged.
@triton.jit
def item_size(lengths_ptr, has_lengths, item, height, width):
    rows = tl.load(lengths_ptr + 2 * item, mask=has_lengths != 0, other=height).to(tl.int32)
    columns = tl.load(lengths_ptr + 2 * item + 1, mask=has_lengths != 0, other=width).to(tl.int32)
    return rows, columns


# Position in memory of the k-th row or column that the scan meets, when it leaves from the far side or not.
@triton.jit
def turned(k, size, from_far_side):
    return tl.where(from_far_side != 0, size - 1 - k, k).to(tl.int64)


# Δ of a tile of cells; zero outside the grid, so that a = 1 and nothing is added there.
@triton.jit
def step_size(raw, use_softplus, mask):
    step = raw
    if use_softplus != 0:
        step = softplus(raw)
    return tl.where(mask, step, 0.0)


# A loop index as a 64-bit offset.
@triton.jit
def wide(k):
    return tl.full((), 0, tl.int64) + k
