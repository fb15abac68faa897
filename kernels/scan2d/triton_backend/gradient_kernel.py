"""Main kernel of the backward: every gradient of a strip.

It has everything that a strip needs: h above it and g at every few columns (saved by the forward), a·λ below it
(`adjoint_kernel`). It takes chunks of columns from right to left, and each chunk twice: to the right with g and h, for
what depends on h; then to the left with μ = ∂loss/∂g. Nothing is divided by a and no large numbers are
subtracted, so small a cost no precision.
"""

# mypy: disable-error-code="no-untyped-def, no-any-return, type-arg, valid-type"
import triton
import triton.language as tl

from scan2d.triton_backend.device_math import (
    LN_2,
    LOG2_E,
    aligned,
    channels_of_block,
    item_size,
    kernel,
    load_rows,
    put_tile,
    sigmoid,
    skipped,
    states_of_tile,
    step_size,
    sum_states,
    take_tile,
    turned,
    walk_down,
    walk_up,
    wide,
)


@triton.jit
def gate_gradient(dout, z_at, has_z, present):
    """dy and ∂loss/∂z over y, from dout."""
    dy = dout
    dy_dz = dout
    if has_z != 0:
        z = tl.load(z_at, mask=present, other=0.0).to(tl.float32)
        s = sigmoid(z)
        dy = dout * z * s
        dy_dz = dout * s * (1.0 + z * (1.0 - s))
    return dy, dy_dz


@triton.jit
def load_known(at, ok, present, HAS_MASK: tl.constexpr):
    """Load float32 values, zero where `ok` is false or, if cells are skipped, where `present` is."""
    x = tl.load(at, mask=ok, other=0.0).to(tl.float32)
    if HAS_MASK:
        x = tl.where(present, x, 0.0)
    return x


@triton.jit
def store_sum(at, value, ok, accumulate):
    """Store, or add to what an earlier launch stored for other states."""
    if accumulate != 0:
        value += tl.load(at, mask=ok, other=0.0).to(tl.float32)
    tl.store(at, value.to(at.dtype.element_ty), mask=ok)


@kernel
def gradient_kernel(
    dout_ptr, u_ptr, delta_ptr, a_ptr, b_ptr, c_ptr, skip_ptr, z_ptr, bias_ptr, lengths_ptr, mask_ptr,
    h_edge_ptr, checkpoint_ptr, p_edge_ptr, du_ptr, ddelta_ptr, dz_ptr, dbc_ptr, dparam_ptr, chunk_ptr, partial_ptr,
    batch, height, width, dim, states, channels_per_group, strips, channel_blocks, state_block, first_work,
    use_softplus, has_z, has_lengths, from_bottom, from_right, accumulate, quads,
    g_sb, g_sd, g_sh, g_sw, u_sb, u_sd, u_sh, u_sw, t_sb, t_sd, t_sh, t_sw, z_sb, z_sd, z_sh, z_sw,
    o_sb, o_sd, o_sh, o_sw,
    a_sd, a_sn, b_sb, b_sg, b_sn, b_sh, b_sw, c_sb, c_sg, c_sn, c_sh, c_sw, m_sb, m_sh, m_sw,
    ROWS: tl.constexpr, QUAD: tl.constexpr, CHANNELS: tl.constexpr, STATES: tl.constexpr, CHUNK: tl.constexpr,
    HAS_MASK: tl.constexpr,
):  # fmt: skip
    """All gradients of one strip and block of channels: number `first_work` + program.

    `o_` are the strides of du, ddelta and dz: one set of addresses for three arrays saves registers. `dbc_ptr`
    holds one partial sum per block of channels of dB, then of dC; `dparam_ptr` one per strip and item of dA, dD and
    dbias. `chunk_ptr` and `partial_ptr` are scratch of each program: g of a chunk, and its share of dΔ through h.
    """
    group_count: tl.constexpr = STATES // QUAD
    row_size: tl.constexpr = STATES * CHANNELS
    tile: tl.constexpr = ROWS * row_size
    row_index = tl.arange(0, ROWS)
    row_axis = row_index[:, None, None, None]
    lane_channel = tl.arange(0, CHANNELS)
    lane_state = states_of_tile(0, QUAD, STATES)
    in_chunk = lane_channel[None, :, None] * STATES + lane_state[:, None, :]
    chunk_at = aligned(chunk_ptr, wide(tl.program_id(0)) * (CHUNK + 1) * tile) + in_chunk
    in_partial = row_index[:, None] * CHANNELS + lane_channel[None, :]
    partial_at = partial_ptr + wide(tl.program_id(0)) * (CHUNK * ROWS * CHANNELS) + in_partial
    state = state_block * STATES + lane_state
    state_ok = state < states
    padded = quads * 4
    edge_step = wide(dim) * padded

    work = first_work + tl.program_id(0)
    channel_block = work % channel_blocks
    strip = (work // channel_blocks) % strips
    item = wide(work // (channel_blocks * strips))
    rows, columns = item_size(lengths_ptr, has_lengths, item, height, width)
    group, channel, channel_ok = channels_of_block(channel_block, channels_per_group, CHANNELS)
    row = strip * ROWS + row_index
    row_ok = row < rows
    i = turned(row, rows, from_bottom)
    cell_ok = row_ok[:, None] & channel_ok[None, :]
    in_ok = row_ok[:, None, None] & state_ok[None, :, :]
    lane_ok = channel_ok[None, :, None] & state_ok[:, None, :]
    edge_ok = channel_ok[None, :, None] & (state[:, None, :] < padded)
    below_ok = edge_ok & ((strip + 1) * ROWS < rows)  # of a ragged item, rows may end here

    rate_at = a_ptr + channel[None, :, None] * a_sd + state[:, None, :] * a_sn
    # A·log₂e serves both the exponentials and, times ln 2, the sums with A.
    rate = tl.load(rate_at, mask=lane_ok, other=0.0).to(tl.float32) * LOG2_E
    skip = tl.load(skip_ptr + channel, mask=channel_ok & (state_block == 0), other=0.0).to(tl.float32)
    bias = tl.load(bias_ptr + channel, mask=channel_ok, other=0.0).to(tl.float32)
    u_row = u_ptr + item * u_sb + i[:, None] * u_sh + channel[None, :] * u_sd
    t_row = delta_ptr + item * t_sb + i[:, None] * t_sh + channel[None, :] * t_sd
    g_row = dout_ptr + item * g_sb + i[:, None] * g_sh + channel[None, :] * g_sd
    z_row = z_ptr + item * z_sb + i[:, None] * z_sh + channel[None, :] * z_sd
    o_row = item * o_sb + i[:, None] * o_sh + channel[None, :] * o_sd
    b_row = b_ptr + item * b_sb + group * b_sg + i[:, None, None] * b_sh + state[None, :, :] * b_sn
    c_row = c_ptr + item * c_sb + group * c_sg + i[:, None, None] * c_sh + state[None, :, :] * c_sn
    m_row = mask_ptr + item * m_sb + i * m_sh
    in_edge = channel[None, :, None] * padded + state[:, None, :]
    h_edge = aligned(h_edge_ptr, (item * (strips - 1) + strip - 1) * width * edge_step) + in_edge
    p_edge = aligned(p_edge_ptr, (item * (strips - 1) + strip) * width * edge_step) + in_edge
    chunks = tl.cdiv(width, CHUNK)
    checkpoint = (item * (chunks - 1) * height + strip * ROWS) * edge_step
    # Partial dB at [block, item, row, column, state], partial dC one whole array further on.
    dbc_row = dbc_ptr + ((channel_block * batch + item) * height + i[:, None, None]) * width * states
    dbc_row += state[None, :, :]
    dc_offset = wide(channel_blocks) * batch * height * width * states

    nothing = tl.zeros((ROWS, QUAD, CHANNELS, group_count), tl.float32)
    d_rate = tl.zeros((QUAD, CHANNELS, group_count), tl.float32)
    d_skip = tl.zeros((CHANNELS,), tl.float32)
    d_bias = tl.zeros((CHANNELS,), tl.float32)
    item_chunks = tl.cdiv(columns, CHUNK)
    for back in range(0, item_chunks):
        chunk = item_chunks - 1 - back
        first = chunk * CHUNK
        last = min(first + CHUNK, columns)

        # To the right: g again, h, and what depends on h: dC, dz, and a share of dΔ and dA.
        at_left = aligned(checkpoint_ptr, checkpoint + wide(chunk - 1) * height * edge_step) + in_edge
        g = load_rows(at_left, nothing, row_axis, edge_step, edge_ok & (chunk > 0), rows - strip * ROWS, ROWS)
        for k in range(first, last):
            put_tile(chunk_at + (k - first) * tile, g, row_axis, row_size, ROWS)
            j = turned(k, columns, from_right)
            there = row_ok
            if HAS_MASK:
                there = tl.load(m_row + j * m_sw, mask=row_ok, other=0) != 0
            present = cell_ok & there[:, None]
            raw = tl.load(t_row + j * t_sw, mask=cell_ok, other=0.0).to(tl.float32) + bias[None, :]
            step = step_size(raw, use_softplus, present)
            u = load_known(u_row + j * u_sw, cell_ok, present, HAS_MASK)
            b = load_known(b_row + j * b_sw, in_ok, there[:, None, None], HAS_MASK)
            c = load_known(c_row + j * c_sw, in_ok, there[:, None, None], HAS_MASK)
            dout = load_known(g_row + j * g_sw, cell_ok, present, HAS_MASK)
            dy, dy_dz = gate_gradient(dout, z_row + j * z_sw, has_z, present)

            a = tl.exp2(step[:, None, :, None] * rate[None, :, :, :])
            p_below = tl.load(p_edge + k * edge_step, mask=below_ok, other=0.0)
            lam, _ = walk_up(a, dy[:, None, :, None] * c[:, :, None, :], p_below, row_axis, ROWS)
            g = a * g + (step * u)[:, None, :, None] * b[:, :, None, :]
            entering = g
            if HAS_MASK:
                entering = tl.where(skipped(step[:, None, :, None]), 0.0, g)
            h_above = tl.load(h_edge + k * edge_step, mask=edge_ok & (strip > 0), other=0.0)
            h, inflow, _ = walk_down(a, entering, h_above, row_axis, ROWS)
            w = lam * inflow
            d_rate += tl.sum(w * step[:, None, :, None], axis=0)
            tl.store(partial_at + (k - first) * (ROWS * CHANNELS), sum_states(w * rate[None, :, :, :]) * LN_2)
            d_c = tl.sum(dy[:, None, :, None] * h, axis=2)
            tl.store(dbc_row + dc_offset + j * states, d_c, mask=in_ok)
            if has_z != 0:
                # Loaded again: kept, it would take the registers that λ needs.
                c = load_known(c_row + j * c_sw, in_ok, there[:, None, None], HAS_MASK)
                y = sum_states(h * c[:, :, None, :]) + skip[None, :] * u
                store_sum(dz_ptr + o_row + j * o_sw, dy_dz * y, cell_ok, accumulate)
        tl.debug_barrier()

        # To the left: μ, and what depends on g: dB, du, and the rest of dΔ and dA.
        # r is a·μ of the column to the right; it waits in scratch while the other walk has the registers.
        r = take_tile(chunk_at + CHUNK * tile, nothing, back > 0, row_axis, row_size, ROWS)
        for left in range(0, last - first):
            k = last - 1 - left
            j = turned(k, columns, from_right)
            there = row_ok
            if HAS_MASK:
                there = tl.load(m_row + j * m_sw, mask=row_ok, other=0) != 0
            present = cell_ok & there[:, None]
            raw = tl.load(t_row + j * t_sw, mask=cell_ok, other=0.0).to(tl.float32) + bias[None, :]
            step = step_size(raw, use_softplus, present)
            u = load_known(u_row + j * u_sw, cell_ok, present, HAS_MASK)
            b = load_known(b_row + j * b_sw, in_ok, there[:, None, None], HAS_MASK)
            c = load_known(c_row + j * c_sw, in_ok, there[:, None, None], HAS_MASK)
            dout = load_known(g_row + j * g_sw, cell_ok, present, HAS_MASK)
            dy, _ = gate_gradient(dout, z_row + j * z_sw, has_z, present)

            a = tl.exp2(step[:, None, :, None] * rate[None, :, :, :])
            p_below = tl.load(p_edge + k * edge_step, mask=below_ok, other=0.0)
            lam, _ = walk_up(a, dy[:, None, :, None] * c[:, :, None, :], p_below, row_axis, ROWS)
            if HAS_MASK:
                lam = tl.where(skipped(step[:, None, :, None]), 0.0, lam)
            mu = lam + r
            r = a * mu
            d_b = tl.sum(mu * (step * u)[:, None, :, None], axis=2)
            tl.store(dbc_row + j * states, d_b, mask=in_ok)
            d_input = sum_states(mu * b[:, :, None, :])
            g_left = take_tile(chunk_at + (k - first) * tile, nothing, True, row_axis, row_size, ROWS)
            w = r * g_left
            d_rate += tl.sum(w * step[:, None, :, None], axis=0)
            d_step = sum_states(w * rate[None, :, :, :]) * LN_2 + u * d_input
            d_step += tl.load(partial_at + (k - first) * (ROWS * CHANNELS))
            d_raw = d_step
            if use_softplus != 0:
                d_raw = d_step * sigmoid(raw)
            d_raw = tl.where(present, d_raw, 0.0)
            d_skip += tl.sum(dy * u, axis=0)
            d_bias += tl.sum(d_raw, axis=0)
            store_sum(du_ptr + o_row + j * o_sw, skip[None, :] * dy + step * d_input, cell_ok, accumulate)
            store_sum(ddelta_ptr + o_row + j * o_sw, d_raw, cell_ok, accumulate)
        put_tile(chunk_at + CHUNK * tile, r, row_axis, row_size, ROWS)
        tl.debug_barrier()

    # dA, then dD, then dbias of this strip: (states + 2, dim) numbers.
    param_at = dparam_ptr + (item * strips + strip) * (states + 2) * dim + channel
    tl.store(param_at[None, :, None] + state[:, None, :] * dim, d_rate, mask=lane_ok)
    if state_block == 0:
        tl.store(param_at + wide(states) * dim, d_skip, mask=channel_ok)
    store_sum(param_at + wide(states + 1) * dim, d_bias, channel_ok, accumulate)
