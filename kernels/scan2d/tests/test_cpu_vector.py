"""The vector functions of the CPU backend against float64."""

import numpy as np
import pytest

pytest.importorskip("numba", reason="the cpu backend needs numba")

from numba import njit

from scan2d.cpu import vector, vector_math, vector_shuffles
from scan2d.cpu.tiling import LANES


@njit
def _exp2(x, out):  # type: ignore[no-untyped-def]
    for k in range(0, x.size, LANES):
        vector.store(out, k, vector_math.exp2(vector.load(x, k)))


@njit
def _softplus(x, out):  # type: ignore[no-untyped-def]
    for k in range(0, x.size, LANES):
        vector.store(out, k, vector_math.softplus(vector.load(x, k)))


@njit
def _sigmoid(x, out):  # type: ignore[no-untyped-def]
    for k in range(0, x.size, LANES):
        vector.store(out, k, vector_math.sigmoid(vector.load(x, k)))


@njit
def _transpose(x, out):  # type: ignore[no-untyped-def]
    vector_shuffles.transpose(x, 0, LANES, out, (LANES - 1) * LANES, -LANES)


@njit
def _sum_lanes(x, out):  # type: ignore[no-untyped-def]
    vector.store(out, 0, vector_shuffles.sum_lanes(x, LANES))


def test_exp2_is_exact_at_zero_and_precise_elsewhere() -> None:
    x = np.linspace(-126, 127, 16 * 20_000).astype(np.float32)
    out = np.empty_like(x)
    _exp2(x, out)
    assert np.abs(out / np.exp2(x.astype(np.float64)) - 1).max() < 2e-7
    x[:4] = 0.0, -1e30, 1e30, np.nan
    _exp2(x, out)
    assert out[0] == 1.0
    assert 0 <= out[1] < 1.2e-38
    assert 1e38 < out[2] < np.inf
    assert np.isnan(out[3])


def test_softplus_keeps_small_results() -> None:
    x = np.linspace(-20, 90, 16 * 20_000).astype(np.float32)
    out = np.empty_like(x)
    _softplus(x, out)
    exact = np.logaddexp(0, x.astype(np.float64))
    assert np.abs(out / exact - 1).max() < 2e-6


def test_sigmoid() -> None:
    x = np.linspace(-20, 90, 16 * 20_000).astype(np.float32)
    out = np.empty_like(x)
    _sigmoid(x, out)
    assert np.abs(out * (1 + np.exp(-x.astype(np.float64))) - 1).max() < 2e-6


def test_transpose_with_a_negative_step() -> None:
    x = np.arange(LANES * LANES, dtype=np.float32)
    out = np.empty_like(x)
    _transpose(x, out)
    assert np.array_equal(out.reshape(LANES, LANES), x.reshape(LANES, LANES).T[::-1])


def test_lanes_of_sixteen_vectors_are_summed_in_their_order() -> None:
    x = np.random.default_rng(0).integers(-99, 99, (LANES + 1, LANES)).astype(np.float32)
    out = np.empty(LANES, np.float32)
    _sum_lanes(x.reshape(-1), out)
    assert out.tolist() == x[1:].sum(axis=1).tolist()
