"""First kernel of the forward: strips of rows, each on its own or all in turn.

h of a strip is what it would be with nothing above it, plus what is left of the h above it: h = h₀ + q, where
q = a·q fades down each column. This kernel runs every strip from h = 0, all at once, and writes y₀ = Σ C·h₀ + D·u;
`column_kernel` adds what q brings. Where items and channels alone fill the device, it does strips in turn instead.
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
    skipped,
    states_of_tile,
    step_size,
    store_rows,
    stride_of_scan,
    sum_states,
    turned,
    walk_down,
    wide,
)


@kernel
def strip_kernel(
    u_ptr, delta_ptr, a_ptr, b_ptr, c_ptr, skip_ptr, z_ptr, bias_ptr, lengths_ptr, mask_ptr,
    y_ptr, out_ptr, edge_ptr, checkpoint_ptr, step_sum_ptr,
    height, width, dim, states, channels_per_group, strips, state_block,
    use_softplus, has_z, has_lengths, from_bottom, from_right, accumulate, final, save, sums, quads, edge_quads,
    u_sb, u_sd, u_sh, u_sw, t_sb, t_sd, t_sh, t_sw, z_sb, z_sd, z_sh, z_sw, y_sb, y_sd, y_sh, y_sw,
    a_sd, a_sn, b_sb, b_sg, b_sn, b_sh, b_sw, c_sb, c_sg, c_sn, c_sh, c_sw, m_sb, m_sh, m_sw,
    ROWS: tl.constexpr, QUAD: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr, CHUNK: tl.constexpr,
    CHAINED: tl.constexpr, HAS_MASK: tl.constexpr,
):  # fmt: skip
    """Walk along strips of rows, g in registers.

    `CHAINED` false: a program does one strip, from h = 0 above it, and writes the h that leaves its bottom, y before
    the gate, and (`sums`) ΣΔ over its rows. `CHAINED` true: a program does all strips of its channels in turn and
    hands h down through `edge_ptr`; with `final` it writes the outputs. With `save`, g at the left edge of every
    `CHUNK` columns is kept for the backward. The values of the next column are loaded before this one is computed.
    """
    item = wide(tl.program_id(2))
    rows, columns = item_size(lengths_ptr, has_lengths, item, height, width)
    group, channel, channel_ok = channels_of_block(tl.program_id(0), channels_per_group, CHANNELS)
    state = states_of_tile(state_block, QUAD, STATES)
    state_ok = state < states
    row_index = tl.arange(0, ROWS)
    row_axis = row_index[:, None, None, None]

    # (quad, channels, groups)
    rate_at = a_ptr + channel[None, :, None] * a_sd + state[:, None, :] * a_sn
    rate = tl.load(rate_at, mask=state_ok[:, None, :] & channel_ok[None, :, None], other=0.0).to(tl.float32) * LOG2_E
    skip = tl.load(skip_ptr + channel, mask=channel_ok & (state_block == 0), other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + channel, mask=channel_ok, other=0.0).to(tl.float32)
    # Boundary states lie (…, dim, 4·quads): the four states of a lane are one aligned access.
    padded = quads * 4
    in_edge = channel[None, :, None] * padded + state[:, None, :]
    edge_ok = channel_ok[None, :, None] & (state[:, None, :] < padded)
    edge_step = wide(dim) * padded
    edge_stride = wide(edge_quads) * 4  # from one edge to the next
    u_step, t_step = stride_of_scan(u_sw, from_right), stride_of_scan(t_sw, from_right)
    z_step, y_step = stride_of_scan(z_sw, from_right), stride_of_scan(y_sw, from_right)
    b_step, c_step = stride_of_scan(b_sw, from_right), stride_of_scan(c_sw, from_right)
    m_step = stride_of_scan(m_sw, from_right)
    left = turned(0, columns, from_right)

    first_strip, last_strip = tl.program_id(1), tl.program_id(1) + 1
    if CHAINED:
        first_strip, last_strip = 0, strips
    for strip in range(first_strip, last_strip):
        row = strip * ROWS + row_index
        row_ok = row < rows
        i = turned(row, rows, from_bottom)
        cell_ok = row_ok[:, None] & channel_ok[None, :]
        in_ok = row_ok[:, None, None] & state_ok[None, :, :]
        u_at = u_ptr + item * u_sb + left * u_sw + i[:, None] * u_sh + channel[None, :] * u_sd
        t_at = delta_ptr + item * t_sb + left * t_sw + i[:, None] * t_sh + channel[None, :] * t_sd
        in_z = item * z_sb + left * z_sw + i[:, None] * z_sh + channel[None, :] * z_sd
        in_y = item * y_sb + left * y_sw + i[:, None] * y_sh + channel[None, :] * y_sd
        in_b = item * b_sb + group * b_sg + left * b_sw
        in_c = item * c_sb + group * c_sg + left * c_sw
        b_at = b_ptr + in_b + i[:, None, None] * b_sh + state[None, :, :] * b_sn
        c_at = c_ptr + in_c + i[:, None, None] * c_sh + state[None, :, :] * c_sn
        m_at = mask_ptr + item * m_sb + left * m_sw + i * m_sh
        below = aligned(edge_ptr, (item * (strips - 1) + strip) * edge_stride) + in_edge
        chunks = tl.cdiv(width, CHUNK)
        checkpoint = (item * (chunks - 1) * height + strip * ROWS) * edge_step

        g = tl.zeros((ROWS, QUAD, CHANNELS, STATES // QUAD), tl.float32)
        h_above = tl.zeros((QUAD, CHANNELS, STATES // QUAD), tl.float32)
        raw, u = tl.load(t_at, mask=cell_ok, other=0.0), tl.load(u_at, mask=cell_ok, other=0.0)
        b, c = tl.load(b_at, mask=in_ok, other=0.0), tl.load(c_at, mask=in_ok, other=0.0)
        there = row_ok
        if HAS_MASK:
            there = tl.load(m_at, mask=row_ok, other=0) != 0
        for k in range(0, columns):
            # Past the last column the pointers stay.
            more = tl.where(k + 1 < columns, 1, 0)
            u_at += more * u_step
            t_at += more * t_step
            b_at += more * b_step
            c_at += more * c_step
            next_raw, next_u = tl.load(t_at, mask=cell_ok, other=0.0), tl.load(u_at, mask=cell_ok, other=0.0)
            next_b, next_c = tl.load(b_at, mask=in_ok, other=0.0), tl.load(c_at, mask=in_ok, other=0.0)

            present = cell_ok & there[:, None]
            step = step_size(raw.to(tl.float32) + bias[None, :], use_softplus, present)
            token, b32, c32 = u.to(tl.float32), b.to(tl.float32), c.to(tl.float32)
            if HAS_MASK:
                token = tl.where(present, token, 0.0)
                b32 = tl.where(there[:, None, None], b32, 0.0)
                c32 = tl.where(there[:, None, None], c32, 0.0)
            if save != 0:  # noqa: SIM102 - `and` would evaluate both
                if (k % CHUNK == 0) & (k > 0):
                    checkpoint_at = aligned(checkpoint_ptr, checkpoint) + in_edge
                    store_rows(checkpoint_at, g, row_axis, edge_step, edge_ok, rows - strip * ROWS, ROWS)
                    checkpoint += height * edge_step
            a = tl.exp2(step[:, None, :, None] * rate[None, :, :, :])
            g = a * g + (step * token)[:, None, :, None] * b32[:, :, None, :]
            entering = g
            if HAS_MASK:
                entering = tl.where(skipped(step[:, None, :, None]), 0.0, g)
            if CHAINED:
                h_above = tl.load(below - edge_stride, mask=edge_ok & (strip > 0), other=0.0)
            h, _, h_below = walk_down(a, entering, h_above, row_axis, ROWS)
            tl.store(below, h_below, mask=edge_ok & (strip < strips - 1))
            below += edge_step
            y = sum_states(h * c32[:, :, None, :]) + skip[None, :] * token
            if accumulate != 0:
                y += tl.load(y_ptr + in_y, mask=cell_ok, other=0.0)
            if CHAINED and final != 0:
                if has_z != 0:
                    z = tl.load(z_ptr + in_z, mask=present, other=0.0).to(tl.float32)
                    y = y * z * sigmoid(z)
                tl.store(out_ptr + in_y, y.to(out_ptr.dtype.element_ty), mask=cell_ok)
            else:
                tl.store(y_ptr + in_y, y, mask=cell_ok)
            if not CHAINED:  # noqa: SIM102 - the outer is decided when compiling
                if sums != 0:
                    sum_at = step_sum_ptr + ((item * (strips - 1) + strip) * width + k) * dim + channel
                    tl.store(sum_at, tl.sum(step, axis=0), mask=channel_ok & (strip < strips - 1))
            in_z += z_step
            in_y += y_step
            raw, u, b, c = next_raw, next_u, next_b, next_c
            if HAS_MASK:
                m_at += more * m_step
                there = tl.load(m_at, mask=row_ok, other=0) != 0
        if CHAINED:
            # The next strip of the chain reads what this one wrote.
            tl.debug_barrier()
