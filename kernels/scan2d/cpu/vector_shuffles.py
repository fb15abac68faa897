"""Sixteen vectors at once: their transpose, and the sums over their lanes."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from llvmlite import ir
from numba import types

from scan2d.cpu.tiling import LANES
from scan2d.cpu.vector import INT_VECTOR, VECTOR, intrinsic, is_float_array, vector


def _transpose_ir(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Transpose a square of vectors by log2(LANES) rounds of interleaving row k with row k + LANES/2."""
    half = LANES // 2
    low = [lane // 2 + (lane % 2) * LANES for lane in range(LANES)]
    high = [lane + half for lane in low]
    for _ in range(LANES.bit_length() - 1):
        mixed = []
        for k in range(half):
            for pattern in (low, high):
                mask = ir.Constant(INT_VECTOR, pattern)
                mixed.append(builder.shuffle_vector(rows[k], rows[k + half], mask))
        rows = mixed
    return rows


@intrinsic
def transpose(typingctx, source, source_at, source_step, target, target_at, target_step):
    """Copy sixteen vectors, `source_step` elements apart, to the columns of sixteen, `target_step` apart."""
    if not (is_float_array(source) and is_float_array(target)):
        return None

    def codegen(context, builder, sig, args):
        pointers = []
        for array_type, array, first, step in (
            (sig.args[0], *args[:3]),
            (sig.args[3], *args[3:]),
        ):
            data = context.make_array(array_type)(context, builder, array).data
            offsets = [builder.add(first, builder.mul(step, step.type(k))) for k in range(LANES)]
            pointers.append([builder.bitcast(builder.gep(data, [offset]), VECTOR.as_pointer()) for offset in offsets])
        rows = [builder.load(pointer, align=4) for pointer in pointers[0]]
        for row, pointer in zip(_transpose_ir(builder, rows), pointers[1], strict=True):
            builder.store(row, pointer, align=4)
        return context.get_dummy_value()

    index = types.intp
    return types.none(source, index, index, target, index, index), codegen


def _sums_ir(builder: ir.IRBuilder, rows: list[ir.Value]) -> ir.Value:
    """Lane k of the result is the sum of the lanes of row k.

    Each round halves the number of vectors: it adds the two halves of every group of lanes, for row k in the lower
    half of the group and for row k + len(rows)/2 in the upper.
    """
    group = LANES
    while len(rows) > 1:
        half = group // 2
        starts = [lane // group * group for lane in range(LANES)]
        lower = [first + lane % half + LANES * (lane % group >= half) for lane, first in enumerate(starts)]
        halves = [ir.Constant(INT_VECTOR, [lane + shift for lane in lower]) for shift in (0, half)]
        pairs = zip(rows[: len(rows) // 2], rows[len(rows) // 2 :], strict=True)
        rows = [builder.fadd(*(builder.shuffle_vector(x, y, mask) for mask in halves)) for x, y in pairs]
        group = half
    return rows[0]


@intrinsic
def sum_lanes(typingctx, array, index):
    """Sum the lanes of each of sixteen consecutive vectors of a float32 array: a vector of sixteen sums."""
    if not is_float_array(array):
        return None

    def codegen(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        offsets = [builder.add(args[1], args[1].type(k * LANES)) for k in range(LANES)]
        pointers = [builder.bitcast(builder.gep(data, [offset]), VECTOR.as_pointer()) for offset in offsets]
        return _sums_ir(builder, [builder.load(pointer, align=4) for pointer in pointers])

    return vector(array, types.intp), codegen
