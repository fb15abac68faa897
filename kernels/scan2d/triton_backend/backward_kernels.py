"""Backward kernels: the adjoint boundaries, then every gradient, then the sums over programs.

λ = ∂loss/∂h runs up every column and depends on no other column, so its boundaries between strips
take one pass. The main kernel then has everything a strip needs: h above it (saved by the forward), a·λ below
it, g from its own left edge. It walks right to left with μ = ∂loss/∂g in registers, and recomputes g
chunk by chunk from checkpoints that it wrote on a first walk to the right. Nothing is divided by a and no
large numbers are subtracted, so small a cost no precision.
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
    walk_up,
    wide,
)


@kernel
def adjoint_edges_kernel(
    dout_ptr, delta_ptr, a_ptr, c_ptr, z_ptr, bias_ptr, lengths_ptr, edge_ptr, step_sum_ptr,
    height, width, dim, states, channels_per_group, strips, strip_rows, first_state,
    use_softplus, has_z, has_lengths, from_bottom, from_right, segments,
    g_sb, g_sd, g_sh, g_sw, t_sb, t_sd, t_sh, t_sw, z_sb, z_sd, z_sh, z_sw,
    a_sd, a_sn, c_sb, c_sg, c_sn, c_sh, c_sw,
    COLUMNS: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Run λ up a few columns and write a·λ where it crosses from one strip into the one above."""
    item = wide(tl.program_id(2) // segments)
    rows, columns = item_size(lengths_ptr, has_lengths, item, height, width)
    blocks_per_group = tl.cdiv(channels_per_group, CHANNELS)
    group = (tl.program_id(1) // blocks_per_group).to(tl.int64)
    within = (tl.program_id(1) % blocks_per_group) * CHANNELS + tl.arange(0, CHANNELS)
    channel = group * channels_per_group + within
    channel_ok = within < channels_per_group
    state = first_state + tl.arange(0, STATES)
    state_ok = state < states
    k = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    column_ok = k < columns
    j = turned(k, columns, from_right)
    cell_ok = column_ok[:, None] & channel_ok[None, :]
    in_ok = column_ok[:, None] & state_ok[None, :]

    state_mask = state_ok[:, None] & channel_ok[None, :]
    rate = tl.load(a_ptr + channel[None, :] * a_sd + state[:, None] * a_sn, mask=state_mask, other=0.0)
    rate = rate.to(tl.float32) * LOG2_E
    bias = tl.load(bias_ptr + channel, mask=channel_ok, other=0.0).to(tl.float32)
    g_at = dout_ptr + item * g_sb + j[:, None] * g_sw + channel[None, :] * g_sd
    t_at = delta_ptr + item * t_sb + j[:, None] * t_sw + channel[None, :] * t_sd
    z_at = z_ptr + item * z_sb + j[:, None] * z_sw + channel[None, :] * z_sd
    c_at = c_ptr + item * c_sb + group * c_sg + j[:, None] * c_sw + state[None, :] * c_sn
    edge_mask = column_ok[:, None, None] & state_mask[None, :, :]
    edge_offset = (k[:, None, None] * states + state[None, :, None]) * wide(dim) + channel[None, None, :]

    p = tl.zeros((COLUMNS, STATES, CHANNELS), tl.float32)
    # Exact from the bottom of the grid, or (`segments` > 1) each strip from its own bottom, to be carried up.
    top, bottom = strip_rows, rows
    if segments > 1:
        top = (tl.program_id(2) % segments + 1) * strip_rows
        bottom = min(top + strip_rows, rows)
    total = tl.zeros((COLUMNS, CHANNELS), tl.float32)
    for up in range(0, bottom - top):
        row = bottom - 1 - up
        i = turned(row, rows, from_bottom)
        raw = tl.load(t_at + i * t_sh, mask=cell_ok, other=0.0).to(tl.float32) + bias[None, :]
        step = step_size(raw, use_softplus, cell_ok)
        total += step
        dy = tl.load(g_at + i * g_sh, mask=cell_ok, other=0.0).to(tl.float32)
        if has_z != 0:
            z = tl.load(z_at + i * z_sh, mask=cell_ok, other=0.0).to(tl.float32)
            dy = dy * z * sigmoid(z)
        c = tl.load(c_at + i * c_sh, mask=in_ok, other=0.0).to(tl.float32)
        p = tl.exp2(step[:, None, :] * rate[None, :, :]) * (p + dy[:, None, :] * c[:, :, None])
        if row % strip_rows == 0:
            position = (item * (strips - 1) + row // strip_rows - 1) * width
            tl.store(edge_ptr + position * states * dim + edge_offset, p, mask=edge_mask)
            if segments > 1:
                sum_at = step_sum_ptr + (position + k[:, None]) * dim + channel[None, :]
                tl.store(sum_at, total, mask=cell_ok)


@kernel
def gradient_kernel(
    dout_ptr, u_ptr, delta_ptr, a_ptr, b_ptr, c_ptr, skip_ptr, z_ptr, bias_ptr, lengths_ptr,
    h_edge_ptr, p_edge_ptr, du_ptr, ddelta_ptr, dz_ptr, dbc_ptr, dparam_ptr, checkpoint_ptr, chunk_ptr,
    batch, height, width, dim, states, channels_per_group, strips, channel_blocks, first_state,
    use_softplus, has_z, has_lengths, from_bottom, from_right, accumulate,
    g_sb, g_sd, g_sh, g_sw, u_sb, u_sd, u_sh, u_sw, t_sb, t_sd, t_sh, t_sw, z_sb, z_sd, z_sh, z_sw,
    o_sb, o_sd, o_sh, o_sw,
    a_sd, a_sn, b_sb, b_sg, b_sn, b_sh, b_sw, c_sb, c_sg, c_sn, c_sh, c_sw,
    ROWS: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """All gradients of a strip; programs take strips in turn, so that workspace does not grow with the batch.

    `o_` are the strides of du, ddelta and dz: one set of addresses for three arrays saves registers. `dbc_ptr`
    holds one partial sum per block of channels of dB, then of dC; `dparam_ptr` one per strip and item of dA, dD and
    dbias.
    """
    tile: tl.constexpr = ROWS * STATES * CHANNELS
    row_index = tl.arange(0, ROWS)
    row_axis = row_index[:, None, None]
    lane_state = tl.arange(0, STATES)
    lane_channel = tl.arange(0, CHANNELS)
    in_tile = (row_axis * STATES + lane_state[None, :, None]) * CHANNELS + lane_channel[None, None, :]
    chunks = tl.cdiv(width, CHUNK)
    checkpoint_at = checkpoint_ptr + wide(tl.program_id(0)) * chunks * tile + in_tile
    chunk_at = chunk_ptr + wide(tl.program_id(0)) * CHUNK * tile + in_tile
    blocks_per_group = tl.cdiv(channels_per_group, CHANNELS)

    for work in range(tl.program_id(0), batch * strips * channel_blocks, tl.num_programs(0)):
        channel_block = work % channel_blocks
        strip = (work // channel_blocks) % strips
        item = wide(work // (channel_blocks * strips))
        rows, columns = item_size(lengths_ptr, has_lengths, item, height, width)
        group = wide(channel_block // blocks_per_group)
        within = (channel_block % blocks_per_group) * CHANNELS + lane_channel
        channel = group * channels_per_group + within
        channel_ok = within < channels_per_group
        state = first_state + lane_state
        state_ok = state < states
        row = strip * ROWS + row_index
        row_ok = row < rows
        i = turned(row, rows, from_bottom)
        cell_ok = row_ok[:, None] & channel_ok[None, :]
        in_ok = row_ok[:, None] & state_ok[None, :]
        state_mask = state_ok[:, None] & channel_ok[None, :]
        below_ok = (strip + 1) * ROWS < rows  # of a ragged item, rows may end here

        rate_at = a_ptr + channel[None, :] * a_sd + state[:, None] * a_sn
        rate = tl.load(rate_at, mask=state_mask, other=0.0).to(tl.float32)
        rate2 = rate * LOG2_E
        skip = tl.load(skip_ptr + channel, mask=channel_ok, other=0.0).to(tl.float32)
        skip = tl.where(first_state == 0, skip, 0.0)
        bias = tl.load(bias_ptr + channel, mask=channel_ok, other=0.0).to(tl.float32)
        u_at = u_ptr + item * u_sb + i[:, None] * u_sh + channel[None, :] * u_sd
        t_at = delta_ptr + item * t_sb + i[:, None] * t_sh + channel[None, :] * t_sd
        g_at = dout_ptr + item * g_sb + i[:, None] * g_sh + channel[None, :] * g_sd
        z_at = z_ptr + item * z_sb + i[:, None] * z_sh + channel[None, :] * z_sd
        out_offset = item * o_sb + i[:, None] * o_sh + channel[None, :] * o_sd
        b_at = b_ptr + item * b_sb + group * b_sg + i[:, None] * b_sh + state[None, :] * b_sn
        c_at = c_ptr + item * c_sb + group * c_sg + i[:, None] * c_sh + state[None, :] * c_sn
        edge_offset = state[:, None] * dim + channel[None, :]
        h_edge = h_edge_ptr + (item * (strips - 1) + strip - 1) * width * states * dim + edge_offset
        p_edge = p_edge_ptr + (item * (strips - 1) + strip) * width * states * dim + edge_offset
        # Partial dB at [block, item, row, column, state], partial dC one whole array further on.
        dbc_at = dbc_ptr + ((channel_block * batch + item) * height + i[:, None]) * width * states + state[None, :]
        dc_offset = wide(channel_blocks) * batch * height * width * states

        # First walk, left to right: g at the left edge of every chunk.
        g = tl.zeros((ROWS, STATES, CHANNELS), tl.float32)
        for k in range(0, columns):
            if k % CHUNK == 0:
                tl.store(checkpoint_at + wide(k // CHUNK) * tile, g)
            j = turned(k, columns, from_right)
            raw = tl.load(t_at + j * t_sw, mask=cell_ok, other=0.0).to(tl.float32) + bias[None, :]
            step = step_size(raw, use_softplus, cell_ok)
            u = tl.load(u_at + j * u_sw, mask=cell_ok, other=0.0).to(tl.float32)
            b = tl.load(b_at + j * b_sw, mask=in_ok, other=0.0).to(tl.float32)
            g = tl.exp2(step[:, None, :] * rate2[None, :, :]) * g + (step * u)[:, None, :] * b[:, :, None]
        tl.debug_barrier()

        # Second walk, right to left, a chunk at a time.
        r = tl.zeros((ROWS, STATES, CHANNELS), tl.float32)  # a·μ of the column to the right
        d_rate = tl.zeros((STATES, CHANNELS), tl.float32)
        d_skip = tl.zeros((CHANNELS,), tl.float32)
        d_bias = tl.zeros((CHANNELS,), tl.float32)
        item_chunks = tl.cdiv(columns, CHUNK)
        for back in range(0, item_chunks):
            first = (item_chunks - 1 - back) * CHUNK
            last = min(first + CHUNK, columns)
            g = tl.load(checkpoint_at + wide(item_chunks - 1 - back) * tile)
            for k in range(first, last):
                tl.store(chunk_at + (k - first) * tile, g)
                j = turned(k, columns, from_right)
                raw = tl.load(t_at + j * t_sw, mask=cell_ok, other=0.0).to(tl.float32) + bias[None, :]
                step = step_size(raw, use_softplus, cell_ok)
                u = tl.load(u_at + j * u_sw, mask=cell_ok, other=0.0).to(tl.float32)
                b = tl.load(b_at + j * b_sw, mask=in_ok, other=0.0).to(tl.float32)
                g = tl.exp2(step[:, None, :] * rate2[None, :, :]) * g + (step * u)[:, None, :] * b[:, :, None]
            tl.debug_barrier()
            for left in range(0, last - first):
                k = last - 1 - left
                j = turned(k, columns, from_right)
                raw = tl.load(t_at + j * t_sw, mask=cell_ok, other=0.0).to(tl.float32) + bias[None, :]
                step = step_size(raw, use_softplus, cell_ok)
                u = tl.load(u_at + j * u_sw, mask=cell_ok, other=0.0).to(tl.float32)
                b = tl.load(b_at + j * b_sw, mask=in_ok, other=0.0).to(tl.float32)
                c = tl.load(c_at + j * c_sw, mask=in_ok, other=0.0).to(tl.float32)
                dout = tl.load(g_at + j * g_sw, mask=cell_ok, other=0.0).to(tl.float32)
                dy = dout
                dy_dz = dout  # ∂loss/∂z over y
                if has_z != 0:
                    z = tl.load(z_at + j * z_sw, mask=cell_ok, other=0.0).to(tl.float32)
                    s = sigmoid(z)
                    dy = dout * z * s
                    dy_dz = dout * s * (1.0 + z * (1.0 - s))

                # Adjoint states of this column: λ up the rows, then μ from the right.
                a = tl.exp2(step[:, None, :] * rate2[None, :, :])
                edge_here = wide(k) * states * dim
                p_below = tl.load(p_edge + edge_here, mask=state_mask & below_ok, other=0.0)
                lam = walk_up(a, dy[:, None, :] * c[:, :, None], p_below, row_axis, ROWS)
                mu = lam + r
                r = a * mu
                d_b = tl.sum(mu * (step * u)[:, None, :], axis=2)
                tl.store(dbc_at + j * states, d_b, mask=in_ok)
                d_input = tl.sum(mu * b[:, :, None], axis=1)

                # Forward states: a·g[j-1], then h and a·h[i-1]; w = ∂loss/∂(log a).
                ag = a * tl.load(chunk_at + (k - first) * tile)
                w = mu * ag
                h_above = tl.load(h_edge + edge_here, mask=state_mask & (strip > 0), other=0.0)
                h, ah, _ = walk_down(a, ag + (step * u)[:, None, :] * b[:, :, None], h_above, row_axis, ROWS)
                d_c = tl.sum(dy[:, None, :] * h, axis=2)
                tl.store(dbc_at + dc_offset + j * states, d_c, mask=in_ok)
                if has_z != 0:
                    dz = dy_dz * (tl.sum(h * c[:, :, None], axis=1) + skip[None, :] * u)
                    if accumulate != 0:
                        dz += tl.load(dz_ptr + out_offset + j * o_sw, mask=cell_ok, other=0.0).to(tl.float32)
                    tl.store(dz_ptr + out_offset + j * o_sw, dz.to(dz_ptr.dtype.element_ty), mask=cell_ok)
                w += lam * ah
                d_rate += tl.sum(w * step[:, None, :], axis=0)
                d_step = tl.sum(w * rate[None, :, :], axis=1) + u * d_input
                d_raw = d_step
                if use_softplus != 0:
                    d_raw = d_step * sigmoid(raw)
                d_raw = tl.where(cell_ok, d_raw, 0.0)
                du = skip[None, :] * dy + step * d_input
                d_skip += tl.sum(dy * u, axis=0)
                d_bias += tl.sum(d_raw, axis=0)
                if accumulate != 0:
                    du += tl.load(du_ptr + out_offset + j * o_sw, mask=cell_ok, other=0.0).to(tl.float32)
                    d_raw += tl.load(ddelta_ptr + out_offset + j * o_sw, mask=cell_ok, other=0.0).to(tl.float32)
                tl.store(du_ptr + out_offset + j * o_sw, du.to(du_ptr.dtype.element_ty), mask=cell_ok)
                tl.store(ddelta_ptr + out_offset + j * o_sw, d_raw.to(ddelta_ptr.dtype.element_ty), mask=cell_ok)
            tl.debug_barrier()

        # dA, then dD, then dbias of this strip: (states + 2, dim) numbers.
        param_at = dparam_ptr + (item * strips + strip) * (states + 2) * dim + channel
        tl.store(param_at[None, :] + state[:, None] * dim, d_rate, mask=state_mask)
        if first_state == 0:
            tl.store(param_at + wide(states) * dim, d_skip, mask=channel_ok)
        bias_at = param_at + wide(states + 1) * dim
        if accumulate != 0:
            d_bias += tl.load(bias_at, mask=channel_ok, other=0.0)
        tl.store(bias_at, d_bias, mask=channel_ok)


@kernel
def sum_partials_kernel(
    dbc_ptr, dparam_ptr, db_ptr, dc_ptr, da_ptr, dskip_ptr, dbias_ptr,
    blocks_per_group, param_parts, items, cells, states, dim, groups, dbc_programs, has_skip, has_bias,
    TERMS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Add the partial sums in a fixed order.

    dB and dC are contiguous as (batch, groups, height, width, states); `cells` is height·width·states. Programs
    below `dbc_programs` add them over the blocks of channels of a group, the rest add dA, dD and dbias over
    strips and items.
    """
    lane = tl.arange(0, LANES)
    term = tl.arange(0, TERMS)
    if tl.program_id(0) < dbc_programs:
        # One half of the programs for dB, the other for dC.
        half = dbc_programs // 2
        which = tl.program_id(0) // half
        outputs = wide(items) * groups * cells
        at = wide(tl.program_id(0) % half) * LANES + lane
        ok = at < outputs
        inside = at % cells
        group = (at // cells) % groups
        item = at // (wide(cells) * groups)
        source = (wide(which) * groups * blocks_per_group * items + item) * cells + inside
        acc = tl.zeros((LANES,), tl.float32)
        for first in range(0, blocks_per_group, TERMS):
            block = first + term
            offset = (group[None, :] * blocks_per_group + block[:, None]) * items * cells + source[None, :]
            part_ok = (block < blocks_per_group)[:, None] & ok[None, :]
            acc += tl.sum(tl.load(dbc_ptr + offset, mask=part_ok, other=0.0), axis=0)
        if which == 0:
            tl.store(db_ptr + at, acc.to(db_ptr.dtype.element_ty), mask=ok)
        else:
            tl.store(dc_ptr + at, acc.to(dc_ptr.dtype.element_ty), mask=ok)
    else:
        size = (states + 2) * dim
        place = wide(tl.program_id(0) - dbc_programs) * LANES + lane
        place_ok = place < size
        total_sum = tl.zeros((LANES,), tl.float32)
        for first_part in range(0, param_parts, TERMS):
            part = first_part + term
            term_ok = (part < param_parts)[:, None] & place_ok[None, :]
            part_at = part[:, None].to(tl.int64) * size + place[None, :]
            total_sum += tl.sum(tl.load(dparam_ptr + part_at, mask=term_ok, other=0.0), axis=0)
        state, channel = place // dim, place % dim
        tl.store(
            da_ptr + channel * states + state, total_sum.to(da_ptr.dtype.element_ty), mask=place_ok & (state < states)
        )
        skip_ok = place_ok & (state == states) & (has_skip != 0)
        tl.store(dskip_ptr + channel, total_sum.to(dskip_ptr.dtype.element_ty), mask=skip_ok)
        bias_ok = place_ok & (state == states + 1) & (has_bias != 0)
        tl.store(dbias_ptr + channel, total_sum.to(dbias_ptr.dtype.element_ty), mask=bias_ok)
