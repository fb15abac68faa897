"""What crosses the edges between strips, carried past all of them: only for long narrow grids."""

# mypy: disable-error-code="no-untyped-def, no-any-return, type-arg, valid-type"
import triton.language as tl

from scan2d.triton_backend.device_math import (
    LOG2_E,
    item_size,
    kernel,
    walk_down,
    wide,
)


@kernel
def carry_kernel(
    edge_ptr, step_sum_ptr, a_ptr, lengths_ptr,
    height, width, dim, states, first_state, strips, strip_rows, has_lengths, upwards, quads, a_sd, a_sn,
    STRIPS: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr,
):  # fmt: skip
    """Turn what leaves each strip on its own into what really crosses its edge: only where grids are long and narrow.

    Edge s lies between strips s and s + 1. Downwards (forward) it takes in what crossed edge s - 1; upwards
    (backward) what crossed edge s + 1. The product of a over a strip is exp(A·ΣΔ): one exponential per strip.
    `STRIPS` edges at a time lie in registers.
    """
    k = tl.program_id(0)
    item = wide(tl.program_id(2))
    rows, columns = item_size(lengths_ptr, has_lengths, item, height, width)
    # Edges that really exist in this item; the forward writes those below a ragged item too, unread.
    edges = tl.cdiv(rows, strip_rows) - 1
    channel_blocks = tl.cdiv(dim, CHANNELS)
    channel = (tl.program_id(1) % channel_blocks) * CHANNELS + tl.arange(0, CHANNELS)
    channel_ok = (channel < dim) & (k < columns)
    state = first_state + tl.program_id(1) // channel_blocks * STATES + tl.arange(0, STATES)
    mask = channel_ok[:, None] & (state < states)[None, :]
    rate = tl.load(a_ptr + channel[:, None] * a_sd + state[None, :] * a_sn, mask=mask, other=0.0)
    rate = rate.to(tl.float32) * LOG2_E
    row_index = tl.arange(0, STRIPS)
    carried = tl.zeros((CHANNELS, STATES), tl.float32)
    for first in range(0, edges, STRIPS):
        met = first + row_index
        edge = tl.where(upwards != 0, edges - 1 - met, met)
        position = (item * (strips - 1) + edge) * width + k
        sum_ok = (met < edges)[:, None] & channel_ok[None, :]
        total = tl.load(step_sum_ptr + position[:, None] * dim + channel[None, :], mask=sum_ok, other=0.0)
        at = edge_ptr + (position[:, None, None] * dim + channel[None, :, None]) * (quads * 4) + state[None, None, :]
        edge_ok = (met < edges)[:, None, None] & mask[None, :, :]
        a = tl.exp2(total[:, :, None] * rate[None, :, :])
        x = tl.load(at, mask=edge_ok, other=0.0)
        h, _, carried = walk_down(a, x, carried, row_index[:, None, None], STRIPS)
        tl.store(at, h, mask=edge_ok)
