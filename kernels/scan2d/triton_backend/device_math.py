"""Device functions that the kernels share.

The kernels that walk along rows hold tiles (rows, quad, channels, groups of four): state = 4·group + quad. Triton
gives the last axes to the lanes of a warp, so channels and groups lie across lanes (channels also across
warps), rows and quads in registers. A walk over the rows of a tile is then a chain of multiply-adds inside each
thread (`pick_row` and the selects of `walk_down` and `walk_up` compile to nothing), and the four states of a lane lie
side by side in memory: one access of 16 bytes. The kernels that walk along columns hold (rows, states, channels)
with 32 channels across the lanes and all states in registers.
"""

# mypy: disable-error-code="no-untyped-def, no-any-return, type-arg, valid-type"
import inspect
from collections.abc import Callable
from typing import Any

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)


def kernel(function: Callable[..., Any]) -> Any:
    """Make a Triton kernel that is compiled once per element type and tile, whatever the sizes and strides.

    Triton would compile again for every argument that becomes 1 or divisible by 16; nothing here gains from
    that, and bags of all sizes would pay for it.
    """
    runtime = [name for name in inspect.signature(function).parameters if name == name.lower()]
    return triton.jit(do_not_specialize=runtime)(function)


@triton.jit
def softplus(x):
    """log(1 + exp(x)) to single precision over the whole range.

    log1p(t) = 2·artanh(t / (2 + t)) by its series: the hardware logarithm has no relative accuracy near 1, and
    Δ = 0.001 sits there.
    """
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
    """1 / (1 + exp(-x)) without overflow on either side."""
    t = tl.exp2(-tl.abs(x) * LOG2_E)
    return tl.where(x >= 0, 1.0, t) / (1.0 + t)


@triton.jit
def pick_row(x, row_index, row):
    """One row of a tile whose rows lie in registers.

    The mask is a constant of each register, and integer sums with zero fold away: a choice of registers, not work.
    """
    bits = tl.where(row_index == row, x.to(tl.int32, bitcast=True), 0)
    return tl.sum(bits, axis=0).to(tl.float32, bitcast=True)


@triton.jit
def walk_down(a, x, h, row_index, ROWS: tl.constexpr):
    """h[i] = a[i]·h[i-1] + x[i] down the rows, from h above them.

    Returns h of every row, the inflow a[i]·h[i-1] of every row, and the last h.
    """
    all_h = x
    all_inflow = x
    for row in tl.static_range(ROWS):
        inflow = pick_row(a, row_index, row) * h
        h = inflow + pick_row(x, row_index, row)
        all_h = tl.where(row_index == row, tl.expand_dims(h, 0), all_h)
        all_inflow = tl.where(row_index == row, tl.expand_dims(inflow, 0), all_inflow)
    return all_h, all_inflow, h


@triton.jit
def walk_up(a, c, p, row_index, ROWS: tl.constexpr):
    """λ[i] = c[i] + p[i+1], p[i] = a[i]·λ[i] up the rows, from p below them; returns λ of every row, and the last p."""
    all_lambda = c
    for back in tl.static_range(ROWS):
        adjoint = pick_row(c, row_index, ROWS - 1 - back) + p
        p = pick_row(a, row_index, ROWS - 1 - back) * adjoint
        all_lambda = tl.where(row_index == ROWS - 1 - back, tl.expand_dims(adjoint, 0), all_lambda)
    return all_lambda, p


@triton.jit
def fade_down(a, q, row_index, ROWS: tl.constexpr):
    """q[i] = a[i]·q[i-1] down the rows: what is left in each row of q above them; and the last q."""
    all_q = a
    for row in tl.static_range(ROWS):
        q = pick_row(a, row_index, row) * q
        all_q = tl.where(row_index == row, tl.expand_dims(q, 0), all_q)
    return all_q, q


@triton.jit
def item_size(lengths_ptr, has_lengths, item, height, width):
    """Rows and columns of one item of the batch: the whole grid, or its own rectangle if the batch is ragged."""
    rows = tl.load(lengths_ptr + 2 * item, mask=has_lengths != 0, other=height).to(tl.int32)
    columns = tl.load(lengths_ptr + 2 * item + 1, mask=has_lengths != 0, other=width).to(tl.int32)
    return rows, columns


@triton.jit
def turned(k, size, from_far_side):
    """Position in memory of the k-th row or column that the scan meets, when it leaves from the far side or not."""
    return tl.where(from_far_side != 0, size - 1 - k, k).to(tl.int64)


@triton.jit
def stride_of_scan(stride, from_far_side):
    """Distance in memory between what the scan meets one after the other."""
    return wide(tl.where(from_far_side != 0, -stride, stride))


@triton.jit
def step_size(raw, use_softplus, there):
    """Δ of a tile of cells; where there is none, -0: a = 1 there and nothing is added. No cell has Δ = -0 otherwise."""
    step = raw
    if use_softplus != 0:
        step = softplus(raw)
    # As integers, because Triton makes a constant -0.0 into +0.0.
    bits = tl.where(there, (step + 0.0).to(tl.int32, bitcast=True), -2147483648)
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def skipped(step):
    """Where `step_size` found no cell, read off the bits of Δ: cheaper than carrying a mask in every layout."""
    return step.to(tl.int32, bitcast=True) == -2147483648


@triton.jit
def wide(k):
    """An integer as a 64-bit offset."""
    return tl.full((), 0, tl.int64) + k


@triton.jit
def sum_states(x):
    """Sum a row-walk tile over its states: registers first, then lanes."""
    return tl.sum(tl.sum(x, axis=1), axis=2)


@triton.jit
def channels_of_block(block, channels_per_group, CHANNELS: tl.constexpr):
    """Group, channels and which of them exist, of a block of channels; no block straddles two groups."""
    blocks_per_group = tl.cdiv(channels_per_group, CHANNELS)
    group = wide(block // blocks_per_group)
    within = (block % blocks_per_group) * CHANNELS + tl.arange(0, CHANNELS)
    return group, group * channels_per_group + within, within < channels_per_group


@triton.jit
def states_of_tile(state_block, QUAD: tl.constexpr, STATES: tl.constexpr):
    """The states of a row-walk tile, (quad, groups): those of a lane are neighbours."""
    return state_block * STATES + tl.arange(0, STATES // QUAD)[None, :] * QUAD + tl.arange(0, QUAD)[:, None]


@triton.jit
def aligned(pointer, offset):
    """A place in workspace whose offset is a multiple of four floats: tells the compiler that 16-byte accesses fit."""
    return tl.multiple_of(pointer + offset, 16)


@triton.jit
def store_rows(at, x, row_index, row_stride, ok, rows_there, ROWS: tl.constexpr):
    """Store a tile row by row: each row is one access of 16 bytes per lane in the layout that `x` has already."""
    for row in tl.static_range(ROWS):
        tl.store(at + row * row_stride, pick_row(x, row_index, row), mask=ok & (row < rows_there))


@triton.jit
def load_rows(at, like, row_index, row_stride, ok, rows_there, ROWS: tl.constexpr):
    """Load what `store_rows` stored, zero elsewhere; `like` gives the shape."""
    x = like
    for row in tl.static_range(ROWS):
        one = tl.load(at + row * row_stride, mask=ok & (row < rows_there), other=0.0)
        x = tl.where(row_index == row, tl.expand_dims(one, 0), x)
    return x


@triton.jit
def put_tile(at, x, row_index, ROW_SIZE: tl.constexpr, ROWS: tl.constexpr):
    """Store a tile in scratch that holds nothing else."""
    for row in tl.static_range(ROWS):
        tl.store(at + row * ROW_SIZE, pick_row(x, row_index, row))


@triton.jit
def take_tile(at, like, ok, row_index, ROW_SIZE: tl.constexpr, ROWS: tl.constexpr):
    """Load a tile from scratch, zero if not `ok`; `like` gives the shape."""
    x = like
    for row in tl.static_range(ROWS):
        x = tl.where(row_index == row, tl.expand_dims(tl.load(at + row * ROW_SIZE, mask=ok, other=0.0), 0), x)
    return x
