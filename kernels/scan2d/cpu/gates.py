"""What happens to each cell before and after the scans: step size and gate, with derivatives."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import numpy as np

from scan2d.cpu.compiled import compiled
from scan2d.cpu.tiling import LANES
from scan2d.cpu.vector import load, splat, store
from scan2d.cpu.vector_math import sigmoid, softplus


@compiled
def to_steps(buffer, at, count, bias, with_softplus):
    """Turn raw delta into the step size Δ, in place."""
    for j in range(at, at + count * LANES, LANES):
        raw = load(buffer, j) + bias
        store(buffer, j, softplus(raw) if with_softplus else raw)


@compiled
def to_steps_and_slopes(buffer, slopes, at, count, bias, with_softplus):
    """Turn raw delta into Δ, in place, and write dΔ/d(raw delta) beside it."""
    for j in range(at, at + count * LANES, LANES):
        raw = load(buffer, j) + bias
        store(buffer, j, softplus(raw) if with_softplus else raw)
        store(slopes, j, sigmoid(raw) if with_softplus else splat(np.float32(1.0)))


@compiled
def apply_gate(ys, zs, at, count):
    """y·silu(z), in place of y."""
    for j in range(at, at + count * LANES, LANES):
        z = load(zs, j)
        store(ys, j, load(ys, j) * (z * sigmoid(z)))


@compiled
def gate_upstream(douts, zs, at, count):
    """dy = dout·silu(z), in place of dout; and dout·silu'(z), to be multiplied by y, in place of z."""
    for j in range(at, at + count * LANES, LANES):
        z, dout = load(zs, j), load(douts, j)
        s = sigmoid(z)
        slope = s * (z * (splat(np.float32(1.0)) - s) + splat(np.float32(1.0)))
        store(zs, j, dout * slope)
        store(douts, j, dout * (z * s))
