"""Sixteen float32 lanes as one Numba value.

Numba leaves vectorisation to LLVM's judgement, which gives up on loops as nested as these. Here a vector is a
type of its own (LLVM's `<16 x float>`), so kernels written with it compile to SIMD on any processor: one
register of AVX-512, two of AVX, four of SSE or NEON. Lanes are channels.

Arithmetic may be contracted into fused multiply-adds but is not otherwise reordered, and NaN
and infinity pass through. Loads and stores are not bounds-checked.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.cgutils import get_or_insert_function
from numba.core.typing import signature
from numba.core.typing.templates import ConcreteTemplate, infer_global
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import lower_builtin, models, register_model

from scan2d.cpu.tiling import LANES

intrinsic: Any = numba_intrinsic  # its stub knows nothing of the context argument

_FLOAT = ir.FloatType()
_INT = ir.IntType(32)
_VECTOR = ir.VectorType(_FLOAT, LANES)
_INT_VECTOR = ir.VectorType(_INT, LANES)
_CONTRACT = ("contract",)

# 2**f on [-1/2, 1/2]: the polynomial of degree 5, exact at 0, of least maximal relative error (1e-7)
_EXP2_COEFFICIENTS = (
    1.0,
    0.69314697759788568,
    0.24022242083388423,
    0.055507337442725117,
    0.0096715127684612393,
    0.0013264727266499323,
)
_ROUND_TO_INTEGER = 1.5 * 2.0**23
"""Adding this to a small float32 leaves its nearest integer in the low bits."""


class VectorType(types.Type):
    """The Numba type of sixteen float32 lanes."""

    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


vector = VectorType()


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, _VECTOR)


def _splat_ir(builder: ir.IRBuilder, scalar: ir.Value) -> ir.Value:
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(_INT_VECTOR, [0] * LANES))


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_VECTOR, [value] * LANES)


def _register_arithmetic(function: Callable[..., Any], emit: str) -> None:
    """Give vectors an infix operator, with a float32 on the right meaning that number in all lanes."""

    @infer_global(function)
    class _Template(ConcreteTemplate):
        cases = [signature(vector, vector, vector), signature(vector, vector, types.float32)]  # noqa: RUF012

    @lower_builtin(function, vector, vector)
    def _vector_vector(context, builder, sig, args):
        return getattr(builder, emit)(*args, flags=_CONTRACT)

    @lower_builtin(function, vector, types.float32)
    def _vector_scalar(context, builder, sig, args):
        return getattr(builder, emit)(args[0], _splat_ir(builder, args[1]), flags=_CONTRACT)


_register_arithmetic(operator.add, "fadd")
_register_arithmetic(operator.sub, "fsub")
_register_arithmetic(operator.mul, "fmul")
_register_arithmetic(operator.truediv, "fdiv")


def _element_pointer(context, builder: ir.IRBuilder, sig, args) -> ir.Value:
    array = context.make_array(sig.args[0])(context, builder, args[0])
    return builder.gep(array.data, [args[1]])


def _is_float_array(array: types.Type) -> bool:
    return isinstance(array, types.Array) and array.dtype == types.float32 and array.layout == "C"


@intrinsic
def splat(typingctx, scalar):
    """The same float32 in every lane."""

    def codegen(context, builder, sig, args):
        return _splat_ir(builder, args[0])

    return vector(types.float32), codegen


@intrinsic
def load(typingctx, array, index):
    """Sixteen consecutive elements of a contiguous float32 array from `index` on."""
    if not _is_float_array(array):
        return None

    def codegen(context, builder, sig, args):
        pointer = builder.bitcast(_element_pointer(context, builder, sig, args), _VECTOR.as_pointer())
        return builder.load(pointer, align=4)

    return vector(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, value):
    """Write a vector to sixteen consecutive elements from `index` on."""
    if not _is_float_array(array):
        return None

    def codegen(context, builder, sig, args):
        pointer = builder.bitcast(_element_pointer(context, builder, sig, args), _VECTOR.as_pointer())
        builder.store(args[2], pointer, align=4)
        return context.get_dummy_value()

    return types.none(array, types.intp, vector), codegen


@intrinsic
def load_splat(typingctx, array, index):
    """One element of a contiguous float32 array in every lane."""
    if not _is_float_array(array):
        return None

    def codegen(context, builder, sig, args):
        return _splat_ir(builder, builder.load(_element_pointer(context, builder, sig, args)))

    return vector(array, types.intp), codegen


@intrinsic
def add_lanes(typingctx, array, index, value):
    """Add the sum over the lanes of `value` to one element of a float32 array."""
    if not _is_float_array(array):
        return None

    def codegen(context, builder, sig, args):
        pointer = _element_pointer(context, builder, sig, args)
        kind = ir.FunctionType(_FLOAT, [_FLOAT, _VECTOR])
        reduce = get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.fadd.v{LANES}f32")
        zero = ir.Constant(_FLOAT, -0.0)
        total = builder.call(reduce, [zero, args[2]], fastmath=("reassoc",))
        builder.store(builder.fadd(builder.load(pointer), total), pointer)
        return context.get_dummy_value()

    return types.none(array, types.intp, vector), codegen


def _fma_ir(builder: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    function = get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    return builder.call(function, [x, y, z])


def _exp2_ir(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    low, high = _constant(-126.0), _constant(127.49999)
    # operand order of the comparisons lets NaN through
    x = builder.select(builder.fcmp_ordered("<", x, low), low, x)
    x = builder.select(builder.fcmp_ordered(">", x, high), high, x)
    magic = _constant(_ROUND_TO_INTEGER)
    shifted = builder.fadd(x, magic)
    f = builder.fsub(x, builder.fsub(shifted, magic))
    result = _constant(_EXP2_COEFFICIENTS[-1])
    for coefficient in reversed(_EXP2_COEFFICIENTS[:-1]):
        result = _fma_ir(builder, result, f, _constant(coefficient))
    # the integer sits in the low bits of `shifted`; added to the exponent it is the factor 2**integer
    bits = builder.bitcast(shifted, _INT_VECTOR)
    exponent = builder.shl(bits, ir.Constant(_INT_VECTOR, [23] * LANES))
    return builder.bitcast(builder.add(builder.bitcast(result, _INT_VECTOR), exponent), _VECTOR)


@intrinsic
def fma(typingctx, x, y, z):
    """x·y + z, in one instruction and one rounding where the processor can."""

    def codegen(context, builder, sig, args):
        return _fma_ir(builder, *args)

    return vector(vector, vector, vector), codegen


def _transpose_ir(builder: ir.IRBuilder, rows: list[ir.Value]) -> list[ir.Value]:
    """Transpose a square of vectors by log2(LANES) rounds of interleaving row k with row k + LANES/2."""
    half = LANES // 2
    low = [lane // 2 + (lane % 2) * LANES for lane in range(LANES)]
    high = [lane + half for lane in low]
    for _ in range(LANES.bit_length() - 1):
        mixed = []
        for k in range(half):
            for pattern in (low, high):
                mask = ir.Constant(_INT_VECTOR, pattern)
                mixed.append(builder.shuffle_vector(rows[k], rows[k + half], mask))
        rows = mixed
    return rows


@intrinsic
def transpose(typingctx, source, source_at, source_step, target, target_at, target_step):
    """Copy sixteen vectors, `source_step` elements apart, to the columns of sixteen, `target_step` apart."""
    if not (_is_float_array(source) and _is_float_array(target)):
        return None

    def codegen(context, builder, sig, args):
        pointers = []
        for array_type, array, first, step in (
            (sig.args[0], *args[:3]),
            (sig.args[3], *args[3:]),
        ):
            data = context.make_array(array_type)(context, builder, array).data
            offsets = [builder.add(first, builder.mul(step, step.type(k))) for k in range(LANES)]
            pointers.append([builder.bitcast(builder.gep(data, [offset]), _VECTOR.as_pointer()) for offset in offsets])
        rows = [builder.load(pointer, align=4) for pointer in pointers[0]]
        for row, pointer in zip(_transpose_ir(builder, rows), pointers[1], strict=True):
            builder.store(row, pointer, align=4)
        return context.get_dummy_value()

    index = types.intp
    return types.none(source, index, index, target, index, index), codegen


@intrinsic
def exp2(typingctx, x):
    """2**x with relative error 2e-7; never below 2**-126.5 (a normal number, or nearly) or above 2**127.5."""

    def codegen(context, builder, sig, args):
        return _exp2_ir(builder, args[0])

    return vector(vector), codegen


def _sigmoid_ir(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    t = _exp2_ir(builder, builder.fmul(x, _constant(-1.0 / math.log(2.0))))
    one = _constant(1.0)
    return builder.fdiv(one, builder.fadd(one, t))


@intrinsic
def sigmoid(typingctx, x):
    """1 / (1 + exp(-x))."""

    def codegen(context, builder, sig, args):
        return _sigmoid_ir(builder, args[0])

    return vector(vector), codegen


@intrinsic
def softplus(typingctx, x):
    """log(1 + exp(x)), precise for small results too.

    max(x, 0) + log1p(t) with t = exp(-|x|); log1p(t) = 2·artanh(s) with s = t / (2 + t) ≤ 1/3, by its series.
    """

    def codegen(context, builder, sig, args):
        x, zero = args[0], _constant(0.0)
        positive = builder.fcmp_ordered(">", x, zero)
        magnitude = builder.select(positive, x, builder.fneg(x))
        t = _exp2_ir(builder, builder.fmul(magnitude, _constant(-1.0 / math.log(2.0))))
        s = builder.fdiv(t, builder.fadd(t, _constant(2.0)))
        square = builder.fmul(s, s)
        series = _constant(2.0 / 15.0)
        for odd in (13, 11, 9, 7, 5, 3, 1):
            term = builder.fmul(series, square, flags=_CONTRACT)
            series = builder.fadd(term, _constant(2.0 / odd), flags=_CONTRACT)
        log1p = builder.fmul(series, s)
        return builder.fadd(log1p, builder.select(positive, x, zero))

    return vector(vector), codegen


@intrinsic
def next_task(typingctx, counter):
    """Take the next number from a one-element int64 array shared by threads."""

    def codegen(context, builder, sig, args):
        array = context.make_array(sig.args[0])(context, builder, args[0])
        return builder.atomic_rmw("add", array.data, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), codegen
