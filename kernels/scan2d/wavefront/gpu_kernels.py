"""The wavefront scan as a Triton kernel, and what it shares with that of the gradients.

A program owns a block of channels of one item and walks over strips of `ROWS` rows. Within a strip the rows run
staggered: at step t row r is at column t - r. So the cell to the left is the row's own state one step ago, and the cell
above is the state of the row above one step ago: both lie in registers. Only what leaves the last row of a strip goes
through memory, to be read by the same program. No program waits for another.

Tensors like u share their strides (`x_`), and so do B and C (`b_`): fewer addresses, fewer registers. The rates are
contiguous.
"""

# mypy: disable-error-code="no-untyped-def, no-any-return, type-arg, valid-type"
import triton
import triton.language as tl

from scan2d.triton_backend.device_math import LOG2_E, kernel, pick_row, step_size, wide


@triton.jit
def from_above(x, above, row_axis, ROWS: tl.constexpr):
    """Every row takes what the row above it holds; the first row takes `above`."""
    moved = tl.where(row_axis == 0, above[None, :, :], x)
    for row in tl.static_range(1, ROWS):
        moved = tl.where(row_axis == row, pick_row(x, row_axis, row - 1)[None, :, :], moved)
    return moved


@triton.jit
def from_below(x, below, row_axis, ROWS: tl.constexpr):
    """Every row takes what the row below it holds; the last row takes `below`."""
    moved = tl.where(row_axis == ROWS - 1, below[None, :, :], x)
    for row in tl.static_range(1, ROWS):
        moved = tl.where(row_axis == row - 1, pick_row(x, row_axis, row)[None, :, :], moved)
    return moved


@triton.jit
def staggered(row_index, lane, row_stride, column_stride, lane_stride):
    """Where the cells of a step lie, counted from the strip's first row and the block's first channel or state.

    Row r is r columns behind. Small enough for 32 bits; what grows with the grid is added to the pointer.
    """
    return row_index[:, None] * (row_stride - column_stride) + lane[None, :] * lane_stride


@triton.jit
def shares(row, k):
    """Shares of what enters a cell from the top and from the left, and log2 of the share where both exist.

    Elsewhere the last is 0: the state from beyond the edge is zero anyway.
    """
    both = (row > 0) & (k > 0)
    top = tl.where(both, 0.5, tl.where(row > 0, 1.0, 0.0))
    return top, 1.0 - top, tl.where(both, -1.0, 0.0)


@triton.jit
def advance(h, above, step_top, step_left, rate_top, rate_left, u, b, row, k, row_axis, ROWS: tl.constexpr):
    """One step of a strip: the new h of every row, from its own and its upper neighbour's old one."""
    from_top, from_left, exponent = shares(row, k)
    a_top = tl.exp2(step_top[:, None, :] * rate_top[None, :, :] + exponent[:, None, None])
    a_left = tl.exp2(step_left[:, None, :] * rate_left[None, :, :] + exponent[:, None, None])
    x = (from_top[:, None] * step_top + from_left[:, None] * step_left) * u
    return a_top * from_above(h, above, row_axis, ROWS) + a_left * h + x[:, None, :] * b[:, :, None]


@kernel
def wavefront_forward_kernel(
    u_ptr, top_ptr, left_ptr, a_top_ptr, a_left_ptr, b_ptr, c_ptr, skip_ptr, out_ptr, edge_ptr,
    height, width, dim, states, strips, edge_rows, first_state, accumulate,
    x_sb, x_sd, x_sh, x_sw, b_sb, b_sn, b_sh, b_sw,
    ROWS: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Outputs of one block of channels of one item; `edge_ptr` holds the h below `edge_rows` strips, in turn."""
    item = wide(tl.program_id(1))
    lane_state, lane_channel = tl.arange(0, STATES), tl.arange(0, CHANNELS)
    first_channel = wide(tl.program_id(0)) * CHANNELS
    channel, state = tl.program_id(0) * CHANNELS + lane_channel, first_state + lane_state
    row_index = tl.arange(0, ROWS)
    row_axis = row_index[:, None, None]
    channel_ok, state_ok = channel < dim, state < states
    state_mask = state_ok[:, None] & channel_ok[None, :]
    rate_offset = channel[None, :] * states + state[:, None]
    rate_top = tl.load(a_top_ptr + rate_offset, mask=state_mask, other=0.0)
    rate_left = tl.load(a_left_ptr + rate_offset, mask=state_mask, other=0.0)
    rate_top, rate_left = rate_top.to(tl.float32) * LOG2_E, rate_left.to(tl.float32) * LOG2_E
    skip = tl.load(skip_ptr + channel, mask=channel_ok, other=0.0).to(tl.float32)
    skip = tl.where(first_state == 0, skip, 0.0)
    edge_offset = state[:, None] * dim + channel[None, :]

    x_off = staggered(row_index, lane_channel, x_sh, x_sw, x_sd)
    b_off = staggered(row_index, lane_state, b_sh, b_sw, b_sn)
    for strip in range(0, strips):
        first_row = wide(strip) * ROWS
        row = strip * ROWS + row_index
        x_at = item * x_sb + first_row * x_sh + first_channel * x_sd
        b_at = item * b_sb + first_row * b_sh + wide(first_state) * b_sn
        # Where every edge is kept, strip s writes the s-th; else they alternate.
        upper = edge_ptr + (item * edge_rows + (strip + edge_rows - 1) % edge_rows) * width * states * dim
        lower = edge_ptr + (item * edge_rows + strip % edge_rows) * width * states * dim
        h = tl.zeros((ROWS, STATES, CHANNELS), tl.float32)
        for t in range(0, width + ROWS - 1):
            k = t - row_index
            here = (k >= 0) & (k < width) & (row < height)
            cell_ok = here[:, None] & channel_ok[None, :]
            cell = x_at + wide(t) * x_sw
            in_ok = here[:, None] & state_ok[None, :]
            step_top = tl.load(top_ptr + cell + x_off, mask=cell_ok, other=0.0).to(tl.float32)
            step_top = step_size(step_top, 1, cell_ok)
            step_left = tl.load(left_ptr + cell + x_off, mask=cell_ok, other=0.0).to(tl.float32)
            step_left = step_size(step_left, 1, cell_ok)
            u = tl.load(u_ptr + cell + x_off, mask=cell_ok, other=0.0).to(tl.float32)
            b = tl.load(b_ptr + b_at + wide(t) * b_sw + b_off, mask=in_ok, other=0.0).to(tl.float32)
            c = tl.load(c_ptr + b_at + wide(t) * b_sw + b_off, mask=in_ok, other=0.0).to(tl.float32)
            above = tl.load(
                upper + wide(t) * states * dim + edge_offset, mask=state_mask & (strip > 0) & (t < width), other=0.0
            )
            h = advance(h, above, step_top, step_left, rate_top, rate_left, u, b, row, k, row_axis, ROWS)
            y = tl.sum(h * c[:, :, None], axis=1) + skip[None, :] * u
            if accumulate != 0:
                y += tl.load(out_ptr + cell + x_off, mask=cell_ok, other=0.0).to(tl.float32)
            tl.store(out_ptr + cell + x_off, y.to(out_ptr.dtype.element_ty), mask=cell_ok)
            column = t - (ROWS - 1)
            leaving = state_mask & (strip < strips - 1) & (column >= 0)
            tl.store(lower + wide(column) * states * dim + edge_offset, pick_row(h, row_axis, ROWS - 1), mask=leaving)
        # The next strip reads what this one wrote.
        tl.debug_barrier()
