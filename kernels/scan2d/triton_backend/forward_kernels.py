"""Forward kernels: boundaries between strips of rows, then outputs.

A program is one warp. It owns a strip of `ROWS` rows, `CHANNELS` channels and all `STATES` states of one
item, keeps the row states g in registers and walks along the columns. At every column the new h of the strip
follows from g and from the h above the strip, which is the only thing strips hand to each other.
"""

# mypy: disable-error-code="no-untyped-def, no-any-return, type-arg, valid-type"
import triton.language as tl

from scan2d.triton_backend.device_math import (
    LOG2_E,
    item_size,
    kernel,
    sigmoid,
    step_size,
    turned,
    walk_down,
    wide,
)


@kernel
def forward_kernel(
    u_ptr, delta_ptr, a_ptr, b_ptr, c_ptr, skip_ptr, z_ptr, bias_ptr, lengths_ptr,
    out_ptr, edge_ptr, step_sum_ptr,
    height, width, dim, states, channels_per_group, strips, first_state,
    use_softplus, has_z, has_lengths, from_bottom, from_right, accumulate, chain, edge_stride,
    u_sb, u_sd, u_sh, u_sw, t_sb, t_sd, t_sh, t_sw, z_sb, z_sd, z_sh, z_sw, o_sb, o_sd, o_sh, o_sw,
    a_sd, a_sn, b_sb, b_sg, b_sn, b_sh, b_sw, c_sb, c_sg, c_sn, c_sh, c_sw,
    ROWS: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr, OUTPUT: tl.constexpr,
):  # fmt: skip
    """Walk along strips of rows.

    With `OUTPUT` false: start every strip from h = 0 and write the h that leaves its bottom, and ΣΔ over its
    rows (pass 1). With `OUTPUT` true: start from the h above and write the outputs (pass 3); a program then
    does `chain` strips one after the other, and if `chain` > 1 it hands h down itself through `edge_ptr`,
    so that no other pass is needed.
    """
    channel_block = tl.program_id(0)
    item = tl.program_id(2).to(tl.int64)
    rows, columns = item_size(lengths_ptr, has_lengths, item, height, width)
    # Blocks of channels never straddle groups: the launcher counts blocks inside each group.
    blocks_per_group = tl.cdiv(channels_per_group, CHANNELS)
    group = (channel_block // blocks_per_group).to(tl.int64)
    within = (channel_block % blocks_per_group) * CHANNELS + tl.arange(0, CHANNELS)
    channel = group * channels_per_group + within
    channel_ok = within < channels_per_group
    state = first_state + tl.arange(0, STATES)
    state_ok = state < states
    row_index = tl.arange(0, ROWS)
    row_axis = row_index[:, None, None]

    state_mask = state_ok[:, None] & channel_ok[None, :]
    rate = tl.load(a_ptr + channel[None, :] * a_sd + state[:, None] * a_sn, mask=state_mask, other=0.0)
    rate = rate.to(tl.float32) * LOG2_E
    skip = tl.load(skip_ptr + channel, mask=channel_ok, other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + channel, mask=channel_ok, other=0.0).to(tl.float32)
    edge_offset = state[:, None] * dim + channel[None, :]

    for strip in range(tl.program_id(1) * chain, min(tl.program_id(1) * chain + chain, strips)):
        row = strip * ROWS + row_index
        row_ok = row < rows
        where_row = turned(row, rows, from_bottom)
        cell_ok = row_ok[:, None] & channel_ok[None, :]
        in_ok = row_ok[:, None] & state_ok[None, :]
        u_at = u_ptr + item * u_sb + where_row[:, None] * u_sh + channel[None, :] * u_sd
        t_at = delta_ptr + item * t_sb + where_row[:, None] * t_sh + channel[None, :] * t_sd
        z_at = z_ptr + item * z_sb + where_row[:, None] * z_sh + channel[None, :] * z_sd
        o_at = out_ptr + item * o_sb + where_row[:, None] * o_sh + channel[None, :] * o_sd
        b_at = b_ptr + item * b_sb + group * b_sg + where_row[:, None] * b_sh + state[None, :] * b_sn
        c_at = c_ptr + item * c_sb + group * c_sg + where_row[:, None] * c_sh + state[None, :] * c_sn
        above = edge_ptr + (item * (strips - 1) + strip - 1) * edge_stride + edge_offset
        below = above + edge_stride
        g = tl.zeros((ROWS, STATES, CHANNELS), tl.float32)
        nothing = tl.zeros((STATES, CHANNELS), tl.float32)
        for k in range(0, columns):
            j = turned(k, columns, from_right)
            raw = tl.load(t_at + j * t_sw, mask=cell_ok, other=0.0).to(tl.float32) + bias[None, :]
            step = step_size(raw, use_softplus, cell_ok)
            u = tl.load(u_at + j * u_sw, mask=cell_ok, other=0.0).to(tl.float32)
            b = tl.load(b_at + j * b_sw, mask=in_ok, other=0.0).to(tl.float32)
            a = tl.exp2(step[:, None, :] * rate[None, :, :])
            g = a * g + (step * u)[:, None, :] * b[:, :, None]
            if OUTPUT:
                edge_here = wide(k) * states * dim
                h_above = tl.load(above + edge_here, mask=state_mask & (strip > 0), other=0.0)
                h, _, h_below = walk_down(a, g, h_above, row_axis, ROWS)
                c = tl.load(c_at + j * c_sw, mask=in_ok, other=0.0).to(tl.float32)
                y = tl.sum(h * c[:, :, None], axis=1) + tl.where(first_state == 0, skip, 0.0)[None, :] * u
                if has_z != 0:
                    z = tl.load(z_at + j * z_sw, mask=cell_ok, other=0.0).to(tl.float32)
                    y = y * z * sigmoid(z)
                if accumulate != 0:
                    y += tl.load(o_at + j * o_sw, mask=cell_ok, other=0.0).to(tl.float32)
                tl.store(o_at + j * o_sw, y.to(out_ptr.dtype.element_ty), mask=cell_ok)
                if chain > 1:
                    tl.store(below + edge_here, h_below, mask=state_mask & (strip < strips - 1))
            else:
                _, _, h_below = walk_down(a, g, nothing, row_axis, ROWS)
                tl.store(below + wide(k) * states * dim, h_below, mask=state_mask)
                if first_state == 0:
                    total = tl.sum(step, axis=0)
                    sum_at = step_sum_ptr + ((item * (strips - 1) + strip) * width + k) * dim + channel
                    tl.store(sum_at, total, mask=channel_ok)
        if OUTPUT:
            # The next strip of the chain reads what this one wrote.
            tl.debug_barrier()


@kernel
def carry_kernel(
    edge_ptr, step_sum_ptr, a_ptr, lengths_ptr,
    height, width, dim, states, strips, strip_rows, has_lengths, upwards, a_sd, a_sn,
    STRIPS: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Turn what crosses each strip's edge from that strip alone into what really crosses it (pass 2).

    Edge s lies between strips s and s + 1. Downwards (forward) it takes in what crossed edge s - 1; upwards
    (backward) what crossed edge s + 1. `STRIPS` edges at a time lie in registers.
    """
    k = tl.program_id(0)
    item = tl.program_id(2).to(tl.int64)
    rows, columns = item_size(lengths_ptr, has_lengths, item, height, width)
    # Edges that really exist in this item; the forward writes those below a ragged item too, unread.
    edges = tl.cdiv(rows, strip_rows) - 1
    state_blocks = tl.cdiv(states, STATES)
    channel = (tl.program_id(1) // state_blocks) * CHANNELS + tl.arange(0, CHANNELS)
    channel_ok = (channel < dim) & (k < columns)
    state = (tl.program_id(1) % state_blocks) * STATES + tl.arange(0, STATES)
    mask = (state < states)[:, None] & channel_ok[None, :]
    rate = tl.load(a_ptr + channel[None, :] * a_sd + state[:, None] * a_sn, mask=mask, other=0.0)
    rate = rate.to(tl.float32) * LOG2_E
    row_index = tl.arange(0, STRIPS)
    row_axis = row_index[:, None, None]
    carried = tl.zeros((STATES, CHANNELS), tl.float32)
    for first in range(0, edges, STRIPS):
        met = first + row_index
        edge = tl.where(upwards != 0, edges - 1 - met, met)
        position = (item * (strips - 1) + edge) * width + k
        sum_mask = (met < edges)[:, None] & channel_ok[None, :]
        total = tl.load(step_sum_ptr + position[:, None] * dim + channel[None, :], mask=sum_mask, other=0.0)
        at = edge_ptr + (position[:, None, None] * states + state[None, :, None]) * dim + channel[None, None, :]
        edge_mask = (met < edges)[:, None, None] & mask[None, :, :]
        a = tl.exp2(total[:, None, :] * rate[None, :, :])
        x = tl.load(at, mask=edge_mask, other=0.0)
        h, _, carried = walk_down(a, x, carried, row_axis, STRIPS)
        tl.store(at, h, mask=edge_mask)
