"""First kernel of the backward: λ = ∂loss/∂h at the edges between strips.

λ runs up every column and depends on no other column, so its boundaries take one pass.
"""

# mypy: disable-error-code="no-untyped-def, no-any-return, type-arg, valid-type"
import triton.language as tl

from scan2d.triton_backend.device_math import (
    LOG2_E,
    aligned,
    channels_of_block,
    item_size,
    kernel,
    sigmoid,
    step_size,
    stride_of_scan,
    turned,
    walk_up,
    wide,
)


@kernel
def adjoint_kernel(
    dout_ptr, delta_ptr, a_ptr, c_ptr, z_ptr, bias_ptr, lengths_ptr, mask_ptr, edge_ptr, step_sum_ptr,
    height, width, dim, states, channels_per_group, strips, state_block,
    use_softplus, has_z, has_lengths, from_bottom, from_right, carried, quads,
    g_sb, g_sd, g_sh, g_sw, t_sb, t_sd, t_sh, t_sw, z_sb, z_sd, z_sh, z_sw,
    a_sd, a_sn, c_sb, c_sg, c_sn, c_sh, c_sw, m_sb, m_sh, m_sw,
    ROWS: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr, STRIP_ROWS: tl.constexpr,
    HAS_MASK: tl.constexpr,
):  # fmt: skip
    """Run λ up one column, `ROWS` rows at a time, and write a·λ where it crosses from one strip into the one above.

    With `carried`, programs do one strip each, from nothing below it, and also write ΣΔ over its rows.
    """
    k = tl.program_id(0)
    segments = tl.where(carried != 0, strips - 1, 1)
    item = wide(tl.program_id(2) // segments)
    rows, columns = item_size(lengths_ptr, has_lengths, item, height, width)
    rows = tl.where(k < columns, rows, 0)  # of a ragged item: nothing to do
    group, channel, channel_ok = channels_of_block(tl.program_id(1), channels_per_group, CHANNELS)
    state = state_block * STATES + tl.arange(0, STATES)
    state_ok = state < states
    row_index = tl.arange(0, ROWS)
    row_axis = row_index[:, None, None]
    rate_at = a_ptr + channel[None, :] * a_sd + state[:, None] * a_sn
    rate = tl.load(rate_at, mask=state_ok[:, None] & channel_ok[None, :], other=0.0).to(tl.float32) * LOG2_E
    bias = tl.load(bias_ptr + channel, mask=channel_ok, other=0.0).to(tl.float32)

    per_strip: tl.constexpr = STRIP_ROWS // ROWS
    first, last = per_strip, tl.cdiv(rows, STRIP_ROWS) * per_strip
    if carried != 0:
        first = (tl.program_id(2) % segments + 1) * per_strip
        last = min(first + per_strip, last)
    j = turned(k, columns, from_right)
    row = (last - 1) * ROWS + row_index
    i = turned(row, rows, from_bottom)
    t_at = delta_ptr + item * t_sb + j * t_sw + i[:, None] * t_sh + channel[None, :] * t_sd
    g_at = dout_ptr + item * g_sb + j * g_sw + i[:, None] * g_sh + channel[None, :] * g_sd
    z_at = z_ptr + item * z_sb + j * z_sw + i[:, None] * z_sh + channel[None, :] * z_sd
    c_at = c_ptr + item * c_sb + group * c_sg + j * c_sw + i[:, None] * c_sh + state[None, :] * c_sn
    m_at = mask_ptr + item * m_sb + j * m_sw + i * m_sh
    t_step, c_step = stride_of_scan(t_sh, from_bottom) * ROWS, stride_of_scan(c_sh, from_bottom) * ROWS
    g_step, z_step = stride_of_scan(g_sh, from_bottom) * ROWS, stride_of_scan(z_sh, from_bottom) * ROWS
    m_step = stride_of_scan(m_sh, from_bottom) * ROWS
    padded = quads * 4
    position = (item * (strips - 1) + last // per_strip - 2) * width + k
    edge_at = aligned(edge_ptr, position * dim * padded) + channel[None, :] * padded + state[:, None]
    edge_ok = channel_ok[None, :] & (state[:, None] < padded)
    sum_at = step_sum_ptr + position * dim + channel

    p = tl.zeros((STATES, CHANNELS), tl.float32)
    total = tl.zeros((CHANNELS,), tl.float32)
    # Rows below the grid, in the lowest strip, have Δ = 0 and dy = 0 and leave p as it is.
    more = last > first
    row_ok = (row < rows) & more
    cell_ok = row_ok[:, None] & channel_ok[None, :]
    raw, dout = tl.load(t_at, mask=cell_ok, other=0.0), tl.load(g_at, mask=cell_ok, other=0.0)
    c = tl.load(c_at, mask=row_ok[:, None] & state_ok[None, :], other=0.0)
    for met in range(first, last):
        turn = first + last - 1 - met
        there = row < rows
        if HAS_MASK:
            there = there & (tl.load(m_at, mask=there, other=0) != 0)
            m_at -= m_step
        present = there[:, None] & channel_ok[None, :]
        # The values of the next rows are on their way while these are computed.
        row -= ROWS
        t_at -= t_step
        g_at -= g_step
        c_at -= c_step
        above_ok = (row < rows)[:, None]
        next_raw = tl.load(t_at, mask=above_ok & channel_ok[None, :], other=0.0)
        next_dout = tl.load(g_at, mask=above_ok & channel_ok[None, :], other=0.0)
        next_c = tl.load(c_at, mask=above_ok & state_ok[None, :], other=0.0)

        step = step_size(raw.to(tl.float32) + bias[None, :], use_softplus, present)
        dy, c32 = dout.to(tl.float32), c.to(tl.float32)
        if HAS_MASK:
            dy = tl.where(present, dy, 0.0)
            c32 = tl.where(there[:, None], c32, 0.0)
        if has_z != 0:
            z = tl.load(z_at, mask=present, other=0.0).to(tl.float32)
            dy = dy * z * sigmoid(z)
        z_at -= z_step
        a = tl.exp2(step[:, None, :] * rate[None, :, :])
        _, p = walk_up(a, dy[:, None, :] * c32[:, :, None], p, row_axis, ROWS)
        total += tl.sum(step, axis=0)
        if turn % per_strip == 0:
            tl.store(edge_at, p, mask=edge_ok)
            edge_at -= wide(width) * dim * padded
            if carried != 0:
                tl.store(sum_at, total, mask=channel_ok)
        raw, dout, c = next_raw, next_dout, next_c
