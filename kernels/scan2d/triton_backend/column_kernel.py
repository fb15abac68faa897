"""Second kernel of the forward: down the columns, all at once, with nothing to wait for but itself."""

# mypy: disable-error-code="no-untyped-def, no-any-return, type-arg, valid-type"
import triton.language as tl

from scan2d.triton_backend.device_math import (
    LOG2_E,
    aligned,
    channels_of_block,
    fade_down,
    item_size,
    kernel,
    sigmoid,
    step_size,
    stride_of_scan,
    turned,
    wide,
)


@kernel
def column_kernel(
    delta_ptr, a_ptr, c_ptr, z_ptr, bias_ptr, lengths_ptr, mask_ptr, y_ptr, out_ptr, edge_ptr,
    height, width, dim, states, channels_per_group, strips, state_block,
    use_softplus, has_z, has_lengths, from_bottom, from_right, final, save, carried, quads,
    t_sb, t_sd, t_sh, t_sw, z_sb, z_sd, z_sh, z_sw, y_sb, y_sd, y_sh, y_sw,
    a_sd, a_sn, c_sb, c_sg, c_sn, c_sh, c_sw, m_sb, m_sh, m_sw,
    ROWS: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr, STRIP_ROWS: tl.constexpr,
    HAS_MASK: tl.constexpr,
):  # fmt: skip
    """Walk down one column, `ROWS` rows at a time: add to y what comes from the strips above, then gate.

    q, in registers, is what is left of the h above the strip. At each strip's top the h that left the strip above
    on its own (`edge_ptr`, from `strip_kernel`) joins it; that sum is the true h there, and with `save` replaces it.
    If the edges are true already (`carried`), programs do one strip each.
    """
    k = tl.program_id(0)
    segments = tl.where(carried != 0, strips, 1)
    item = wide(tl.program_id(2) // segments)
    rows, columns = item_size(lengths_ptr, has_lengths, item, height, width)
    group, channel, channel_ok = channels_of_block(tl.program_id(1), channels_per_group, CHANNELS)
    rows = tl.where(k < columns, rows, 0)  # of a ragged item: nothing to do
    state = state_block * STATES + tl.arange(0, STATES)
    state_ok = state < states
    row_index = tl.arange(0, ROWS)
    row_axis = row_index[:, None, None]
    rate_at = a_ptr + channel[None, :] * a_sd + state[:, None] * a_sn
    rate = tl.load(rate_at, mask=state_ok[:, None] & channel_ok[None, :], other=0.0).to(tl.float32) * LOG2_E
    bias = tl.load(bias_ptr + channel, mask=channel_ok, other=0.0).to(tl.float32)

    per_strip: tl.constexpr = STRIP_ROWS // ROWS
    first, last = 0, tl.cdiv(rows, ROWS)
    if carried != 0:
        first = (tl.program_id(2) % segments) * per_strip
        last = min(first + per_strip, last)
    j = turned(k, columns, from_right)
    row = first * ROWS + row_index
    i = turned(row, rows, from_bottom)
    t_at = delta_ptr + item * t_sb + j * t_sw + i[:, None] * t_sh + channel[None, :] * t_sd
    in_z = item * z_sb + j * z_sw + i[:, None] * z_sh + channel[None, :] * z_sd
    in_y = item * y_sb + j * y_sw + i[:, None] * y_sh + channel[None, :] * y_sd
    c_at = c_ptr + item * c_sb + group * c_sg + j * c_sw + i[:, None] * c_sh + state[None, :] * c_sn
    m_at = mask_ptr + item * m_sb + j * m_sw + i * m_sh
    t_step, c_step = stride_of_scan(t_sh, from_bottom) * ROWS, stride_of_scan(c_sh, from_bottom) * ROWS
    z_step, y_step = stride_of_scan(z_sh, from_bottom) * ROWS, stride_of_scan(y_sh, from_bottom) * ROWS
    m_step = stride_of_scan(m_sh, from_bottom) * ROWS
    padded = quads * 4
    edge_step = wide(width) * dim * padded
    edge_base = (item * (strips - 1) + max(first // per_strip - 1, 0)) * edge_step + wide(k) * dim * padded
    edge_at = aligned(edge_ptr, edge_base) + channel[None, :] * padded + state[:, None]
    edge_ok = channel_ok[None, :] & (state[:, None] < padded)

    q = tl.zeros((STATES, CHANNELS), tl.float32)
    cell_ok = (row < rows)[:, None] & channel_ok[None, :]
    in_ok = (row < rows)[:, None] & state_ok[None, :]
    raw, y = tl.load(t_at, mask=cell_ok, other=0.0), tl.load(y_ptr + in_y, mask=cell_ok, other=0.0)
    c = tl.load(c_at, mask=in_ok, other=0.0)
    for turn in range(first, last):
        if (turn % per_strip == 0) & (turn > 0):
            q += tl.load(edge_at, mask=edge_ok, other=0.0)
            if save != 0:
                tl.store(edge_at, q, mask=edge_ok)
            edge_at += edge_step
        there = row < rows
        if HAS_MASK:
            there = there & (tl.load(m_at, mask=there, other=0) != 0)
            m_at += m_step
        present = there[:, None] & channel_ok[None, :]
        # The values of the next rows are on their way while these are computed.
        row += ROWS
        t_at += t_step
        c_at += c_step
        next_ok = (row < rows)[:, None] & channel_ok[None, :]
        next_raw = tl.load(t_at, mask=next_ok, other=0.0)
        next_y = tl.load(y_ptr + in_y + y_step, mask=next_ok, other=0.0)
        next_c = tl.load(c_at, mask=(row < rows)[:, None] & state_ok[None, :], other=0.0)

        step = step_size(raw.to(tl.float32) + bias[None, :], use_softplus, present)
        a = tl.exp2(step[:, None, :] * rate[None, :, :])
        all_q, q = fade_down(a, q, row_axis, ROWS)
        c32 = c.to(tl.float32)
        if HAS_MASK:
            c32 = tl.where(there[:, None], c32, 0.0)
        y += tl.sum(all_q * c32[:, :, None], axis=1)
        if final != 0:
            if has_z != 0:
                z = tl.load(z_ptr + in_z, mask=present, other=0.0).to(tl.float32)
                y = y * z * sigmoid(z)
            tl.store(out_ptr + in_y, y.to(out_ptr.dtype.element_ty), mask=cell_ok)
        else:
            tl.store(y_ptr + in_y, y, mask=cell_ok)
        in_z += z_step
        in_y += y_step
        raw, y, c, cell_ok = next_raw, next_y, next_c, next_ok
