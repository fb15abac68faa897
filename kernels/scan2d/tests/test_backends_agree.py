"""Every backend against the float64 definition: the output and every gradient, on awkward shapes."""

import pytest
import torch

from scan2d import START_CORNERS, selective_scan_2d
from scan2d.tests.problems import BackendUnderTest, computed, make_problem, oracle, relative_error

OUTPUT_TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 5e-3, torch.float16: 5e-3}
GRADIENT_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 1e-2, torch.float16: 1e-2}

# (batch, dim, H, W), N, groups; tiles of the CPU backend are 8×32, its blocks 16 channels
SHAPES = [
    ((1, 1, 1, 1), 1, 1),
    ((1, 1, 1, 37), 4, 1),
    ((1, 2, 37, 1), 4, 2),
    ((2, 3, 5, 7), 8, 1),
    ((1, 16, 8, 32), 4, 1),
    ((1, 17, 9, 33), 4, 1),
    ((1, 15, 7, 31), 16, 1),
    ((1, 32, 16, 64), 1, 2),
    ((2, 36, 17, 13), 16, 4),
    ((1, 4, 13, 67), 8, 4),
    ((1, 40, 41, 11), 4, 2),
    ((1, 33, 18, 35), 5, 1),
    ((1, 72, 10, 12), 33, 1),
]


def check(
    problem: dict[str, torch.Tensor],
    backend: BackendUnderTest,
    start: str = "top-left",
    lengths: torch.Tensor | None = None,
) -> None:
    dtype = problem["u"].dtype
    upstream = torch.randn(problem["u"].shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    truth = oracle(problem, upstream, start, lengths)
    got = computed(problem, upstream, backend, start=start, lengths=lengths)
    assert set(got) == {"out", *(f"d{name}" for name in problem)}
    for name, value in got.items():
        tolerance = (OUTPUT_TOLERANCE if name == "out" else GRADIENT_TOLERANCE)[dtype]
        assert relative_error(value, truth[name]) < tolerance, name


@pytest.mark.parametrize(("shape", "states", "groups"), SHAPES, ids=str)
def test_output_and_every_gradient(
    shape: tuple[int, int, int, int], states: int, groups: int, backend: BackendUnderTest
) -> None:
    check(make_problem(shape, states, groups), backend)


@pytest.mark.parametrize("start", START_CORNERS)
@pytest.mark.parametrize("channels_last", [False, True])
def test_every_corner_and_layout(start: str, channels_last: bool, backend: BackendUnderTest) -> None:
    check(make_problem((2, 20, 11, 35), 4, channels_last=channels_last), backend, start)


@pytest.mark.parametrize("present", [("D",), ("z",), ("delta_bias",), ()], ids=str)
def test_optional_tensors_one_at_a_time(present: tuple[str, ...], backend: BackendUnderTest) -> None:
    problem = make_problem((1, 5, 9, 10), 4, groups=None)
    for name in {"D", "z", "delta_bias"} - set(present):
        del problem[name]
    check(problem, backend)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(dtype: torch.dtype, backend: BackendUnderTest) -> None:
    check(make_problem((1, 24, 13, 19), 8, dtype=dtype), backend)


def test_many_channels_share_one_projection(backend: BackendUnderTest) -> None:
    check(make_problem((1, 256, 9, 11), 4), backend)


def test_raw_steps_without_softplus(backend: BackendUnderTest) -> None:
    problem = make_problem((1, 6, 7, 9), 3)
    problem["delta"] = problem["delta"].sigmoid()
    leaves = {name: x.to(backend.device).requires_grad_() for name, x in problem.items()}
    exact = {name: x.detach().double().cpu().requires_grad_() for name, x in problem.items()}
    out = selective_scan_2d(**leaves, backend=backend.name)
    truth = selective_scan_2d(**exact, backend="reference")
    out.sum().backward()
    truth.sum().backward()
    assert relative_error(out.detach(), truth.detach()) < 1e-5
    for name, x in leaves.items():
        assert x.grad is not None
        assert relative_error(x.grad, exact[name].grad) < 1e-4, name  # type: ignore[arg-type]


def test_positive_rates_grow(backend: BackendUnderTest) -> None:
    problem = make_problem((1, 3, 6, 7), 2)
    problem["A"] = problem["A"].neg() * 0.2
    check(problem, backend)


@pytest.mark.parametrize("start", START_CORNERS)
def test_ragged_batch_equals_items_one_by_one(start: str, backend: BackendUnderTest) -> None:
    problem = make_problem((4, 18, 19, 40), 4, groups=2)
    lengths = torch.tensor([[19, 40], [1, 1], [8, 33], [17, 5]])
    check(problem, backend, start, lengths)
    per_item = ("u", "delta", "B", "C", "z")
    got = selective_scan_2d(
        **{name: x.to(backend.device) for name, x in problem.items()},
        delta_softplus=True,
        start=start,
        backend=backend.name,
        lengths=lengths,
    ).cpu()
    for index, (rows, columns) in enumerate(lengths.tolist()):
        alone = {
            name: (x[index : index + 1, ..., :rows, :columns] if name in per_item else x).to(backend.device)
            for name, x in problem.items()
        }
        expected = selective_scan_2d(**alone, delta_softplus=True, start=start, backend=backend.name).cpu()
        torch.testing.assert_close(got[index : index + 1, :, :rows, :columns], expected)
        assert got[index, :, rows:].abs().sum() == 0
        assert got[index, :, :, columns:].abs().sum() == 0


def test_padding_of_a_ragged_batch_is_never_read(backend: BackendUnderTest) -> None:
    problem = make_problem((2, 4, 10, 36), 3)
    lengths = torch.tensor([[3, 34], [10, 2]])
    for name in ("u", "delta", "B", "C", "z"):
        for index, (rows, columns) in enumerate(lengths.tolist()):
            problem[name][index, ..., rows:, :] = float("nan")
            problem[name][index, ..., columns:] = float("nan")
    upstream = torch.full((2, 4, 10, 36), float("nan"))
    for index, (rows, columns) in enumerate(lengths.tolist()):
        upstream[index, :, :rows, :columns] = 1.0
    for name, value in computed(problem, upstream, backend, lengths=lengths).items():
        assert value.isfinite().all(), name
