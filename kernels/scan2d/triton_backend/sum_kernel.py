"""The sums over programs that give dB, dC, dA, dD and dbias."""

# mypy: disable-error-code="no-untyped-def, no-any-return, type-arg, valid-type"
import triton.language as tl

from scan2d.triton_backend.device_math import kernel, wide


@kernel
def sum_partials_kernel(
    dbc_ptr, dparam_ptr, db_ptr, dc_ptr, da_ptr, dskip_ptr, dbias_ptr,
    blocks_per_group, param_parts, items, cells, states, dim, groups, dbc_programs,
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
        skip_ok = place_ok & (state == states)
        tl.store(dskip_ptr + channel, total_sum.to(dskip_ptr.dtype.element_ty), mask=skip_ok)
        bias_ok = place_ok & (state == states + 1)
        tl.store(dbias_ptr + channel, total_sum.to(dbias_ptr.dtype.element_ty), mask=bias_ok)
