"""Device functions that the forward and backward kernels share.

Tensors in the kernels are (rows, states, channels). Channels (and, where a warp has more lanes than the tile
has channels, states) lie across the lanes of one warp, rows lie in registers. A scan along the rows is then
a chain of multiply-adds inside each thread: the combine functions below compile to that, without a shuffle.
"""

# ruff: noqa: D103 - device functions; their one-line purpose is in the comment above each
# mypy: disable-error-code="no-untyped-def, no-any-return, type-arg, valid-type"
import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


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


# h' = a·h + x, composed: (a1, x1) then (a2, x2).
@triton.jit
def combine_linear(a1, x1, a2, x2):
    return a1 * a2, a2 * x1 + x2


# The same, and the inflow a·h of every cell besides. Leaves carry inflow -0.0, the identity of addition.
@triton.jit
def combine_with_inflow(a1, h1, q1, a2, h2, q2):
    inflow = a2 * h1
    return a1 * a2, inflow + h2, inflow + q2


# p = a·λ handed upwards, and λ itself: λ = c + p(below), p = a·λ. `e` is the product of all but the last a.
@triton.jit
def combine_adjoint(a1, p1, l1, e1, a2, p2, l2, e2):
    return a1 * a2, a2 * p1 + p2, l2 + e2 * p1, a1 * e2


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
