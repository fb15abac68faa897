"""Sixteen float32 lanes as one Numba value.

Numba leaves vectorisation to LLVM's judgement, which gives up on loops as nested as these. Here a vector is a
type of its own (LLVM's `<16 x float>`), so kernels written with it compile to SIMD on any processor: one
register of AVX-512, two of AVX, four of SSE or NEON. Lanes are channels.

Arithmetic may be contracted into fused multiply-adds but is not otherwise reordered, and NaN
and infinity pass through. Loads and stores are not bounds-checked.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

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
VECTOR = ir.VectorType(_FLOAT, LANES)
INT_VECTOR = ir.VectorType(_INT, LANES)
CONTRACT = ("contract",)


class VectorType(types.Type):
    """The Numba type of sixteen float32 lanes."""

    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


vector = VectorType()


@register_model(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type) -> None:
        super().__init__(dmm, fe_type, VECTOR)


def _splat_ir(builder: ir.IRBuilder, scalar: ir.Value) -> ir.Value:
    undefined = ir.Constant(VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(INT_VECTOR, [0] * LANES))


def constant(value: float) -> ir.Constant:
    """Return the vector with `value` in every lane."""
    return ir.Constant(VECTOR, [value] * LANES)


def _register_arithmetic(function: Callable[..., Any], emit: str) -> None:
    """Give vectors an infix operator, with a float32 on the right meaning that number in all lanes."""

    @infer_global(function)
    class _Template(ConcreteTemplate):
        cases = [signature(vector, vector, vector), signature(vector, vector, types.float32)]  # noqa: RUF012

    @lower_builtin(function, vector, vector)
    def _vector_vector(context, builder, sig, args):
        return getattr(builder, emit)(*args, flags=CONTRACT)

    @lower_builtin(function, vector, types.float32)
    def _vector_scalar(context, builder, sig, args):
        return getattr(builder, emit)(args[0], _splat_ir(builder, args[1]), flags=CONTRACT)


_register_arithmetic(operator.add, "fadd")
_register_arithmetic(operator.sub, "fsub")
_register_arithmetic(operator.mul, "fmul")
_register_arithmetic(operator.truediv, "fdiv")


def _element_pointer(context, builder: ir.IRBuilder, sig, args) -> ir.Value:
    array = context.make_array(sig.args[0])(context, builder, args[0])
    return builder.gep(array.data, [args[1]])


def is_float_array(array: types.Type) -> bool:
    """Tell whether a type is that of a contiguous float32 array."""
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
    if not is_float_array(array):
        return None

    def codegen(context, builder, sig, args):
        pointer = builder.bitcast(_element_pointer(context, builder, sig, args), VECTOR.as_pointer())
        return builder.load(pointer, align=4)

    return vector(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, value):
    """Write a vector to sixteen consecutive elements from `index` on."""
    if not is_float_array(array):
        return None

    def codegen(context, builder, sig, args):
        pointer = builder.bitcast(_element_pointer(context, builder, sig, args), VECTOR.as_pointer())
        builder.store(args[2], pointer, align=4)
        return context.get_dummy_value()

    return types.none(array, types.intp, vector), codegen


@intrinsic
def load_splat(typingctx, array, index):
    """One element of a contiguous float32 array in every lane."""
    if not is_float_array(array):
        return None

    def codegen(context, builder, sig, args):
        return _splat_ir(builder, builder.load(_element_pointer(context, builder, sig, args)))

    return vector(array, types.intp), codegen


def fma_ir(builder: ir.IRBuilder, x: ir.Value, y: ir.Value, z: ir.Value) -> ir.Value:
    """Emit x·y + z on vectors."""
    kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
    function = get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    return builder.call(function, [x, y, z])


@intrinsic
def fma(typingctx, x, y, z):
    """x·y + z, in one instruction and one rounding where the processor can."""

    def codegen(context, builder, sig, args):
        return fma_ir(builder, *args)

    return vector(vector, vector, vector), codegen


@intrinsic
def next_task(typingctx, counter):
    """Take the next number from a one-element int64 array shared by threads."""

    def codegen(context, builder, sig, args):
        array = context.make_array(sig.args[0])(context, builder, args[0])
        return builder.atomic_rmw("add", array.data, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), codegen
