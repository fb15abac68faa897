"""Properties the scan must have, whatever computes it."""

import pytest
import torch

pytest.importorskip("hypothesis")

import hypothesis.strategies as st
from hypothesis import given, settings

from scan2d import selective_scan_2d
from scan2d.tests.problems import BACKENDS, BackendUnderTest, make_problem, skip_if_unavailable

sizes = st.tuples(st.integers(1, 2), st.integers(1, 20), st.integers(1, 18), st.integers(1, 40))
with_backend = pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: f"{b.name}-{b.device}")


def run(problem: dict[str, torch.Tensor], backend: BackendUnderTest, start: str = "top-left") -> torch.Tensor:
    tensors = {name: x.to(backend.device) for name, x in problem.items()}
    return selective_scan_2d(**tensors, delta_softplus=True, start=start, backend=backend.name).cpu()


def flipped(problem: dict[str, torch.Tensor], axes: list[int]) -> dict[str, torch.Tensor]:
    return {name: x.flip(axes) if x.dim() > 2 else x for name, x in problem.items()}


@with_backend
@settings(max_examples=12, deadline=None)
@given(shape=sizes, states=st.integers(1, 5), seed=st.integers(0, 1000))
def test_a_corner_is_a_flip(
    backend: BackendUnderTest, shape: tuple[int, int, int, int], states: int, seed: int
) -> None:
    skip_if_unavailable(backend)
    problem = make_problem(shape, states, seed=seed)
    for start, axes in (("top-right", [-1]), ("bottom-left", [-2]), ("bottom-right", [-2, -1])):
        expected = run(flipped(problem, axes), backend).flip(axes)
        torch.testing.assert_close(run(problem, backend, start), expected, rtol=1e-5, atol=1e-5)


@with_backend
@settings(max_examples=8, deadline=None)
@given(shape=sizes, seed=st.integers(0, 1000), factor=st.floats(-4, 4, width=32))
def test_linear_in_u(backend: BackendUnderTest, shape: tuple[int, int, int, int], seed: int, factor: float) -> None:
    skip_if_unavailable(backend)
    one, two = make_problem(shape, 3, seed=seed), make_problem(shape, 3, seed=seed + 1)
    both = {**one, "u": one["u"] + factor * two["u"]}
    other = {**one, "u": two["u"]}
    expected = run(one, backend) + factor * run(other, backend)
    torch.testing.assert_close(run(both, backend), expected, rtol=1e-4, atol=2e-4)


@with_backend
@settings(max_examples=8, deadline=None)
@given(shape=sizes, seed=st.integers(0, 1000), data=st.data())
def test_a_cell_influences_only_what_lies_ahead(
    backend: BackendUnderTest, shape: tuple[int, int, int, int], seed: int, data: st.DataObject
) -> None:
    skip_if_unavailable(backend)
    row, column = data.draw(st.integers(0, shape[2] - 1)), data.draw(st.integers(0, shape[3] - 1))
    problem = make_problem(shape, 3, seed=seed)
    changed = {**problem, "u": problem["u"].clone()}
    changed["u"][:, :, row, column] += 1.0
    difference = (run(changed, backend) - run(problem, backend)).abs()
    ahead = torch.zeros_like(difference, dtype=torch.bool)
    ahead[:, :, row:, column:] = True
    assert difference[~ahead].sum() == 0
    assert difference[:, :, row, column].max() > 0


def one_dimensional(problem: dict[str, torch.Tensor], axis: int) -> torch.Tensor:
    """An independent 1D selective scan (Mamba) in float64, token by token, one group."""
    x = {name: t.double() for name, t in problem.items()}
    cells = {name: x[name].squeeze(axis) for name in ("u", "delta", "B", "C", "z")}
    step = torch.log1p(torch.exp(cells["delta"] + x["delta_bias"][:, None]))
    state = torch.zeros(*cells["u"].shape[:2], x["A"].shape[1], dtype=torch.float64)
    outputs = []
    for t in range(cells["u"].shape[-1]):
        now = step[..., t, None]
        state = torch.exp(now * x["A"]) * state + now * cells["u"][..., t, None] * cells["B"][:, 0, None, :, t]
        y = (state * cells["C"][:, 0, None, :, t]).sum(-1) + x["D"] * cells["u"][..., t]
        outputs.append(y * cells["z"][..., t] * torch.sigmoid(cells["z"][..., t]))
    return torch.stack(outputs, -1).unsqueeze(axis)


@with_backend
@pytest.mark.parametrize(("shape", "axis"), [((2, 5, 1, 71), -2), ((2, 5, 71, 1), -1)], ids=["row", "column"])
def test_one_row_or_column_is_the_1d_scan(
    backend: BackendUnderTest, shape: tuple[int, int, int, int], axis: int
) -> None:
    skip_if_unavailable(backend)
    problem = make_problem(shape, 8)
    expected = one_dimensional(problem, axis)
    torch.testing.assert_close(run(problem, backend).double(), expected, rtol=1e-4, atol=1e-5)
