"""exp2, sigmoid and softplus of sixteen lanes."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import math

from llvmlite import ir

from scan2d.cpu.tiling import LANES
from scan2d.cpu.vector import CONTRACT, INT_VECTOR, VECTOR, constant, fma_ir, intrinsic, vector

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


def _exp2_ir(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    low, high = constant(-126.0), constant(127.49999)
    # operand order of the comparisons lets NaN through
    x = builder.select(builder.fcmp_ordered("<", x, low), low, x)
    x = builder.select(builder.fcmp_ordered(">", x, high), high, x)
    magic = constant(_ROUND_TO_INTEGER)
    shifted = builder.fadd(x, magic)
    f = builder.fsub(x, builder.fsub(shifted, magic))
    result = constant(_EXP2_COEFFICIENTS[-1])
    for coefficient in reversed(_EXP2_COEFFICIENTS[:-1]):
        result = fma_ir(builder, result, f, constant(coefficient))
    # the integer sits in the low bits of `shifted`; added to the exponent it is the factor 2**integer
    bits = builder.bitcast(shifted, INT_VECTOR)
    exponent = builder.shl(bits, ir.Constant(INT_VECTOR, [23] * LANES))
    return builder.bitcast(builder.add(builder.bitcast(result, INT_VECTOR), exponent), VECTOR)


@intrinsic
def exp2(typingctx, x):
    """2**x with relative error 2e-7; never below 2**-126.5 (a normal number, or nearly) or above 2**127.5."""

    def codegen(context, builder, sig, args):
        return _exp2_ir(builder, args[0])

    return vector(vector), codegen


def _sigmoid_ir(builder: ir.IRBuilder, x: ir.Value) -> ir.Value:
    t = _exp2_ir(builder, builder.fmul(x, constant(-1.0 / math.log(2.0))))
    one = constant(1.0)
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
        x, zero = args[0], constant(0.0)
        positive = builder.fcmp_ordered(">", x, zero)
        magnitude = builder.select(positive, x, builder.fneg(x))
        t = _exp2_ir(builder, builder.fmul(magnitude, constant(-1.0 / math.log(2.0))))
        s = builder.fdiv(t, builder.fadd(t, constant(2.0)))
        square = builder.fmul(s, s)
        series = constant(2.0 / 15.0)
        for odd in (13, 11, 9, 7, 5, 3, 1):
            term = builder.fmul(series, square, flags=CONTRACT)
            series = builder.fadd(term, constant(2.0 / odd), flags=CONTRACT)
        log1p = builder.fmul(series, s)
        return builder.fadd(log1p, builder.select(positive, x, zero))

    return vector(vector), codegen
