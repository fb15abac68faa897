"""The definition: golden numbers, the recurrence cell by cell, and gradients by finite differences."""

import math

import numpy as np
import pytest
import torch

from scan2d import selective_scan_2d
from scan2d.reference import scan
from scan2d.tests.problems import TENSOR_NAMES, make_problem, shared_folder

SHARED = shared_folder()


@pytest.mark.skipif(SHARED is None, reason="no shared/golden folder above the repository")
@pytest.mark.parametrize("case", range(4))
def test_golden_outputs_and_gradients(case: int) -> None:
    assert SHARED is not None
    with np.load(SHARED / "golden" / "selective_scan_2d.npz") as golden:
        numbers = {key.split("/")[1]: torch.from_numpy(golden[key]) for key in golden if key.startswith(f"case{case}/")}
    inputs = {name: numbers[name].clone().requires_grad_() for name in TENSOR_NAMES if name in numbers}
    y = selective_scan_2d(**inputs, delta_softplus=True, backend="reference")
    y.backward(numbers["dy"])
    torch.testing.assert_close(y.detach(), numbers["y"], rtol=1e-10, atol=1e-10)
    for name, x in inputs.items():
        torch.testing.assert_close(x.grad, numbers[f"grad_{name}"], rtol=1e-10, atol=1e-10, msg=name)


def test_equals_the_recurrence_written_cell_by_cell() -> None:
    rows, columns, states = 4, 5, 2
    problem = make_problem((1, 1, rows, columns), states, dtype=torch.float64)
    u, delta, z = (problem[k][0, 0].tolist() for k in ("u", "delta", "z"))
    A, D, bias = problem["A"][0].tolist(), problem["D"].item(), problem["delta_bias"].item()
    B, C = problem["B"][0, 0].tolist(), problem["C"][0, 0].tolist()
    y = torch.zeros(rows, columns, dtype=torch.float64)
    for n in range(states):
        h = [[0.0] * columns for _ in range(rows)]
        for i in range(rows):
            g = 0.0
            for j in range(columns):
                step = math.log1p(math.exp(delta[i][j] + bias))
                a = math.exp(step * A[n])
                g = a * g + step * u[i][j] * B[n][i][j]
                h[i][j] = (a * h[i - 1][j] if i > 0 else 0.0) + g
                y[i, j] += C[n][i][j] * h[i][j]
    gate = [[value / (1 + math.exp(-value)) for value in row] for row in z]
    expected = (y + D * problem["u"][0, 0]) * torch.tensor(gate, dtype=torch.float64)
    got = selective_scan_2d(**problem, delta_softplus=True, backend="reference")
    torch.testing.assert_close(got[0, 0], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("start", ["top-left", "bottom-right"])
@pytest.mark.parametrize("lengths", [None, [[3, 2], [1, 4]]], ids=["full", "ragged"])
def test_gradcheck(start: str, lengths: list[list[int]] | None) -> None:
    problem = make_problem((2, 2, 3, 4), 2, groups=2, dtype=torch.float64)
    leaves = [problem[name].requires_grad_() for name in TENSOR_NAMES]
    sizes = None if lengths is None else torch.tensor(lengths)

    def function(*tensors: torch.Tensor) -> torch.Tensor:
        return selective_scan_2d(*tensors, True, start=start, backend="reference", lengths=sizes)

    assert torch.autograd.gradcheck(function, leaves)


def test_written_backward_equals_autograd_of_the_definition() -> None:
    problem = make_problem((2, 6, 7, 5), 3, groups=2, dtype=torch.float64)
    upstream = torch.randn(2, 6, 7, 5, dtype=torch.float64)
    leaves = [problem[name].requires_grad_() for name in TENSOR_NAMES]
    of_definition = torch.autograd.grad(scan(*leaves, True, "top-right"), leaves, upstream)
    out = selective_scan_2d(*leaves, True, start="top-right", backend="reference")
    for name, got, expected in zip(
        TENSOR_NAMES, torch.autograd.grad(out, leaves, upstream), of_definition, strict=True
    ):
        torch.testing.assert_close(got, expected, rtol=1e-11, atol=1e-12, msg=name)


def test_softplus_stays_exact_for_large_and_small_steps() -> None:
    problem = make_problem((1, 1, 1, 4), 1, dtype=torch.float64, options=False)
    problem["delta"] = torch.tensor([-40.0, -2.0, 19.0, 30.0], dtype=torch.float64).view(1, 1, 1, 4)
    problem["u"] = torch.ones_like(problem["u"])
    problem["B"] = problem["C"] = torch.ones_like(problem["B"])
    problem["A"] = torch.full((1, 1), -1e6, dtype=torch.float64)  # no memory: y = Δ
    y = selective_scan_2d(**problem, delta_softplus=True, backend="reference").flatten()[:1]
    torch.testing.assert_close(y, torch.tensor([math.log1p(math.exp(-40.0))], dtype=torch.float64))
