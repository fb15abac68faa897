"""All gradients of the wavefront scan as one Triton kernel; see `gpu_kernels` for how a program walks."""

# mypy: disable-error-code="no-untyped-def, no-any-return, type-arg, valid-type"
import triton.language as tl

from scan2d.triton_backend.device_math import LOG2_E, kernel, pick_row, sigmoid, step_size, wide
from scan2d.wavefront.gpu_kernels import advance, from_above, from_below, shares, staggered


@kernel
def wavefront_gradient_kernel(
    dout_ptr, u_ptr, top_ptr, left_ptr, a_top_ptr, a_left_ptr, b_ptr, c_ptr, skip_ptr,
    h_edge_ptr, p_edge_ptr, h_ptr, du_ptr, dtop_ptr, dleft_ptr, dbc_ptr, dparam_ptr,
    batch, height, width, dim, states, strips, channel_blocks, first_state, accumulate,
    x_sb, x_sd, x_sh, x_sw, b_sb, b_sn, b_sh, b_sw,
    ROWS: tl.constexpr, STATES: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """All gradients; strips from the last to the first, each walked forth (h, kept in scratch) and back (λ).

    `dbc_ptr` holds one partial sum of dB, then of dC, per block of
    channels; `dparam_ptr` one of dA_top, dA_left and dD per item. p = w·a·λ is what λ passes up, r to the left.
    """
    row_index = tl.arange(0, ROWS)
    row_axis = row_index[:, None, None]
    lane_state, lane_channel = tl.arange(0, STATES), tl.arange(0, CHANNELS)
    tile: tl.constexpr = ROWS * STATES * CHANNELS
    steps = width + ROWS - 1
    in_tile = (row_axis * STATES + lane_state[None, :, None]) * CHANNELS + lane_channel[None, None, :]
    h_at = h_ptr + wide(tl.program_id(0)) * steps * tile
    state = first_state + lane_state
    state_ok = state < states
    x_off = staggered(row_index, lane_channel, x_sh, x_sw, x_sd)
    b_off = staggered(row_index, lane_state, b_sh, b_sw, b_sn)
    dbc_off = staggered(row_index, lane_state, width * states, states, 1)
    for work in range(tl.program_id(0), batch * channel_blocks, tl.num_programs(0)):
        item = wide(work // channel_blocks)
        block = work % channel_blocks
        channel = block * CHANNELS + lane_channel
        first_channel = wide(block) * CHANNELS
        channel_ok = channel < dim
        state_mask = state_ok[:, None] & channel_ok[None, :]
        rate_offset = channel[None, :] * states + state[:, None]
        rate_top = tl.load(a_top_ptr + rate_offset, mask=state_mask, other=0.0)
        rate_left = tl.load(a_left_ptr + rate_offset, mask=state_mask, other=0.0)
        rate_top, rate_left = rate_top.to(tl.float32), rate_left.to(tl.float32)
        skip = tl.load(skip_ptr + channel, mask=channel_ok, other=0.0).to(tl.float32)
        skip = tl.where(first_state == 0, skip, 0.0)
        edge_offset = state[:, None] * dim + channel[None, :]
        d_rate_top = tl.zeros((STATES, CHANNELS), tl.float32)
        d_rate_left = tl.zeros((STATES, CHANNELS), tl.float32)
        d_skip = tl.zeros((CHANNELS,), tl.float32)
        for done in range(0, strips):
            strip = strips - 1 - done
            first_row = wide(strip) * ROWS
            row = strip * ROWS + row_index
            x_at = item * x_sb + first_row * x_sh + first_channel * x_sd
            b_at = item * b_sb + first_row * b_sh + wide(first_state) * b_sn
            # Partial dB at [block, item, row, column, state], partial dC one whole array further on.
            dbc_at = dbc_ptr + ((wide(block) * batch + item) * height + first_row) * width * states + first_state
            dc_offset = wide(channel_blocks) * batch * height * width * states
            h_edge = h_edge_ptr + (item * (strips - 1) + strip - 1) * width * states * dim
            p_lower = p_edge_ptr + (item * 2 + (strip + 1) % 2) * width * states * dim
            p_upper = p_edge_ptr + (item * 2 + strip % 2) * width * states * dim

            h = tl.zeros((ROWS, STATES, CHANNELS), tl.float32)
            for t in range(0, steps):
                k = t - row_index
                here = (k >= 0) & (k < width) & (row < height)
                cell_ok = here[:, None] & channel_ok[None, :]
                cell = x_at + wide(t) * x_sw
                step_top = tl.load(top_ptr + cell + x_off, mask=cell_ok, other=0.0).to(tl.float32)
                step_top = step_size(step_top, 1, cell_ok)
                step_left = tl.load(left_ptr + cell + x_off, mask=cell_ok, other=0.0).to(tl.float32)
                step_left = step_size(step_left, 1, cell_ok)
                u = tl.load(u_ptr + cell + x_off, mask=cell_ok, other=0.0).to(tl.float32)
                b = tl.load(
                    b_ptr + b_at + wide(t) * b_sw + b_off, mask=here[:, None] & state_ok[None, :], other=0.0
                ).to(tl.float32)
                above = tl.load(
                    h_edge + wide(t) * states * dim + edge_offset,
                    mask=state_mask & (strip > 0) & (t < width),
                    other=0.0,
                )
                h = advance(
                    h, above, step_top, step_left, rate_top * LOG2_E, rate_left * LOG2_E, u, b, row, k, row_axis, ROWS
                )
                tl.store(h_at + wide(t) * tile + in_tile, h)
            tl.debug_barrier()

            p = tl.zeros((ROWS, STATES, CHANNELS), tl.float32)
            r = tl.zeros((ROWS, STATES, CHANNELS), tl.float32)
            for back in range(0, steps):
                t = steps - 1 - back
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
                dy = tl.load(dout_ptr + cell + x_off, mask=cell_ok, other=0.0).to(tl.float32)
                b = tl.load(b_ptr + b_at + wide(t) * b_sw + b_off, mask=in_ok, other=0.0).to(tl.float32)
                c = tl.load(c_ptr + b_at + wide(t) * b_sw + b_off, mask=in_ok, other=0.0).to(tl.float32)
                from_top, from_left, exponent = shares(row, k)
                weight = from_top[:, None] * step_top + from_left[:, None] * step_left

                column = t - (ROWS - 1)
                entering = state_mask & (strip < strips - 1) & (column >= 0)
                below = tl.load(p_lower + wide(column) * states * dim + edge_offset, mask=entering, other=0.0)
                lam = dy[:, None, :] * c[:, :, None] + from_below(p, below, row_axis, ROWS) + r
                d_b = tl.sum(lam * (weight * u)[:, None, :], axis=2)
                tl.store(dbc_at + wide(t) * states + dbc_off, d_b, mask=in_ok)
                d_c = tl.sum(dy[:, None, :] * tl.load(h_at + wide(t) * tile + in_tile), axis=2)
                tl.store(dbc_at + dc_offset + wide(t) * states + dbc_off, d_c, mask=in_ok)
                d_input = tl.sum(lam * b[:, :, None], axis=1)
                du = weight * d_input + skip[None, :] * dy
                if accumulate != 0:
                    du += tl.load(du_ptr + cell + x_off, mask=cell_ok, other=0.0).to(tl.float32)
                tl.store(du_ptr + cell + x_off, du.to(du_ptr.dtype.element_ty), mask=cell_ok)
                d_skip += tl.sum(dy * u, axis=0)
                d_step = u * d_input  # of the sum of both shares

                before = tl.load(h_at + wide(t - 1) * tile + in_tile, mask=(t > 0) & (in_tile >= 0), other=0.0)
                inner = state_mask & (strip > 0) & (t < width)
                above = tl.load(h_edge + wide(t) * states * dim + edge_offset, mask=inner, other=0.0)
                p = tl.exp2(step_top[:, None, :] * (rate_top * LOG2_E)[None, :, :] + exponent[:, None, None]) * lam
                tl.store(p_upper + wide(t) * states * dim + edge_offset, pick_row(p, row_axis, 0), mask=inner)
                w = p * from_above(before, above, row_axis, ROWS)
                d_rate_top += tl.sum(w * step_top[:, None, :], axis=0)
                d_top = tl.sum(w * rate_top[None, :, :], axis=1) + from_top[:, None] * d_step
                # Read a second time: raw steps held until here would cost registers that there are not.
                d_top *= sigmoid(tl.load(top_ptr + cell + x_off, mask=cell_ok, other=0.0).to(tl.float32))
                if accumulate != 0:
                    d_top += tl.load(dtop_ptr + cell + x_off, mask=cell_ok, other=0.0).to(tl.float32)
                tl.store(dtop_ptr + cell + x_off, d_top.to(dtop_ptr.dtype.element_ty), mask=cell_ok)

                r = tl.exp2(step_left[:, None, :] * (rate_left * LOG2_E)[None, :, :] + exponent[:, None, None]) * lam
                w = r * before
                d_rate_left += tl.sum(w * step_left[:, None, :], axis=0)
                d_left = tl.sum(w * rate_left[None, :, :], axis=1) + from_left[:, None] * d_step
                d_left *= sigmoid(tl.load(left_ptr + cell + x_off, mask=cell_ok, other=0.0).to(tl.float32))
                if accumulate != 0:
                    d_left += tl.load(dleft_ptr + cell + x_off, mask=cell_ok, other=0.0).to(tl.float32)
                tl.store(dleft_ptr + cell + x_off, d_left.to(dleft_ptr.dtype.element_ty), mask=cell_ok)
            # The strip above reads p, and uses the scratch again.
            tl.debug_barrier()

        # dA_top, dA_left, dD of this item: (2·states + 1, dim) numbers.
        param_at = dparam_ptr + item * (2 * states + 1) * dim + channel
        tl.store(param_at[None, :] + state[:, None] * dim, d_rate_top, mask=state_mask)
        tl.store(param_at[None, :] + (states + state)[:, None] * dim, d_rate_left, mask=state_mask)
        if first_state == 0:
            tl.store(param_at + wide(2 * states) * dim, d_skip, mask=channel_ok)
