"""Skipped cells: the definition against loops, every backend against the definition, and what a mask must not do."""

import pytest
import torch
from torch import Tensor

from scan2d import START_CORNERS, selective_scan_2d
from scan2d.tests.problems import (
    TENSOR_NAMES,
    BackendUnderTest,
    computed,
    make_problem,
    oracle,
    relative_error,
)

MASKS = ("empty", "full", "one cell", "scattered", "blob", "stripes")
PER_CELL = ("u", "delta", "B", "C", "z")

# (batch, dim, H, W), N, groups; tiles of the CPU backend are 8×32 (N ≤ 16), its blocks 16 channels
SHAPES = [
    ((1, 1, 1, 1), 1, 1),
    ((1, 3, 1, 71), 4, 1),
    ((1, 2, 37, 1), 4, 2),
    ((2, 17, 11, 13), 5, 1),
    ((1, 34, 9, 35), 4, 2),
    ((1, 3, 19, 67), 4, 1),
    ((1, 4, 35, 34), 3, 1),
    ((1, 3, 9, 10), 33, 1),
    ((1, 1, 4, 33), 256, 1),
]


def make_mask(kind: str, batch: int, height: int, width: int) -> Tensor:
    mask = torch.zeros(batch, height, width, dtype=torch.bool)
    if kind == "full":
        return ~mask
    if kind == "one cell":
        mask[:, height // 2, -1] = True
    if kind == "scattered":
        return torch.rand(mask.shape, generator=torch.Generator().manual_seed(5)) < 0.2
    if kind == "blob":
        mask[:, height // 4 : 1 + 3 * height // 4, width // 3 : 1 + 2 * width // 3] = True
        mask[0, 0, 0] = True
    if kind == "stripes":
        mask[:, ::3, 1::2] = True
    return mask


def upstream_of(problem: dict[str, Tensor]) -> Tensor:
    return torch.randn(problem["u"].shape, generator=torch.Generator().manual_seed(1)).to(problem["u"].dtype)


def check(problem: dict[str, Tensor], mask: Tensor, backend: BackendUnderTest, start: str = "top-left") -> None:
    upstream = upstream_of(problem)
    truth = oracle(problem, upstream, start, mask=mask)
    got = computed(problem, upstream, backend, start=start, mask=mask.to(backend.device))
    half = problem["u"].dtype in (torch.float16, torch.bfloat16)
    for name, value in got.items():
        tolerance = (5e-3 if half else 1e-5) if name == "out" else (1e-2 if half else 1e-4)
        assert relative_error(value, truth[name]) < tolerance, name
        if name[-1] in PER_CELL or name in ("out", "ddelta"):
            skipped = ~mask.view(mask.shape[0], *[1] * (value.dim() - 3), *mask.shape[1:]).expand(value.shape)
            assert value.cpu()[skipped].eq(0).all(), name


def scan_by_loops(problem: dict[str, Tensor], mask: Tensor, start: str) -> Tensor:
    """Walk from cell to cell with one g a row and one h a column; a skipped cell is passed by."""
    u, delta, A, B, C, D, z, bias = (problem[name] for name in TENSOR_NAMES)
    batch, dim, height, width = u.shape
    rows = range(height)[::-1] if "bottom" in start else range(height)
    columns = range(width)[::-1] if "right" in start else range(width)
    repeat = dim // B.shape[1]
    out = [[[torch.zeros_like(u[0, :, 0, 0]) for _ in range(width)] for _ in range(height)] for _ in range(batch)]
    for b in range(batch):
        h = [torch.zeros_like(A) for _ in range(width)]
        for i in rows:
            g = torch.zeros_like(A)
            for j in columns:
                if not mask[b, i, j]:
                    continue
                step = torch.log1p(torch.exp(delta[b, :, i, j] + bias))
                a = torch.exp(step[:, None] * A)
                b_cell, c_cell = (x[b, :, :, i, j].repeat_interleave(repeat, 0) for x in (B, C))
                g = a * g + (step * u[b, :, i, j])[:, None] * b_cell
                h[j] = a * h[j] + g
                y = (c_cell * h[j]).sum(1) + D * u[b, :, i, j]
                out[b][i][j] = y * z[b, :, i, j] * torch.sigmoid(z[b, :, i, j])
    return torch.stack([torch.stack([torch.stack(row, -1) for row in item], -2) for item in out])


@pytest.mark.parametrize("start", START_CORNERS)
@pytest.mark.parametrize("kind", ["one cell", "scattered", "blob"])
def test_definition_equals_loops_over_cells(kind: str, start: str) -> None:
    problem = make_problem((2, 4, 6, 7), 2, groups=2, dtype=torch.float64)
    mask, upstream = make_mask(kind, 2, 6, 7), upstream_of(problem)
    leaves = [problem[name].requires_grad_() for name in TENSOR_NAMES]
    expected = scan_by_loops(problem, mask, start)
    got = selective_scan_2d(*leaves, True, start=start, mask=mask, backend="reference")
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    by_loops = torch.autograd.grad(expected, leaves, upstream)
    for name, x, y in zip(TENSOR_NAMES, torch.autograd.grad(got, leaves, upstream), by_loops, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-12, msg=name)


@pytest.mark.parametrize(("shape", "states", "groups"), SHAPES, ids=str)
def test_output_and_every_gradient(
    shape: tuple[int, int, int, int], states: int, groups: int, backend: BackendUnderTest
) -> None:
    for kind in MASKS:
        check(make_problem(shape, states, groups), make_mask(kind, shape[0], *shape[2:]), backend)


@pytest.mark.parametrize("start", START_CORNERS)
@pytest.mark.parametrize("channels_last", [False, True])
def test_every_corner_and_layout(start: str, channels_last: bool, backend: BackendUnderTest) -> None:
    problem = make_problem((1, 20, 11, 37), 4, channels_last=channels_last)
    mask = make_mask("scattered", 1, 11, 37)
    mask[:, 3:5] = True  # rows without gaps too
    check(problem, mask.permute(2, 1, 0).contiguous().permute(2, 1, 0), backend, start)


@pytest.mark.parametrize("present", [("D",), ("z",), ("delta_bias",), ()], ids=str)
def test_optional_tensors_one_at_a_time(present: tuple[str, ...], backend: BackendUnderTest) -> None:
    problem = make_problem((1, 5, 9, 10), 4, groups=None)
    for name in {"D", "z", "delta_bias"} - set(present):
        del problem[name]
    check(problem, make_mask("scattered", 1, 9, 10), backend)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(dtype: torch.dtype, backend: BackendUnderTest) -> None:
    check(make_problem((1, 24, 13, 19), 8, dtype=dtype), make_mask("blob", 1, 13, 19), backend)


@pytest.mark.parametrize("start", START_CORNERS)
def test_full_mask_is_no_mask_and_a_rectangle_is_lengths(start: str, backend: BackendUnderTest) -> None:
    problem = make_problem((2, 18, 19, 40), 4, groups=2)
    lengths = torch.tensor([[19, 40], [8, 33]])
    upstream = upstream_of(problem)
    rectangles = torch.zeros(2, 19, 40, dtype=torch.bool)
    for index, (rows, columns) in enumerate(lengths.tolist()):
        rectangles[index, :rows, :columns] = True
    full = torch.ones(2, 19, 40, dtype=torch.bool)
    for mask, other in ((full, {}), (rectangles, {"lengths": lengths})):
        masked = computed(problem, upstream, backend, start=start, mask=mask.to(backend.device))
        expected = computed(problem, upstream, backend, start=start, **other)
        for name, value in masked.items():
            assert relative_error(value, expected[name].double().cpu()) < 1e-5, name


def test_skipped_cells_are_never_used(backend: BackendUnderTest) -> None:
    problem = make_problem((2, 6, 20, 36), 3)
    mask = make_mask("scattered", 2, 20, 36)
    upstream = upstream_of(problem)
    clean = computed(problem, upstream, backend, mask=mask.to(backend.device))
    gaps = ~mask[:, None]
    broken = {name: x.clone() for name, x in problem.items()}
    for name in PER_CELL:
        broken[name].masked_fill_(gaps if broken[name].dim() == 4 else gaps[:, None], float("nan"))
    got = computed(broken, upstream.masked_fill(gaps, float("nan")), backend, mask=mask.to(backend.device))
    for name, value in got.items():
        assert torch.equal(value, clean[name]), name


def test_opcheck(backend: BackendUnderTest) -> None:
    leaves = {name: x.to(backend.device).requires_grad_() for name, x in make_problem((2, 18, 9, 5), 2).items()}
    tensors = [leaves[name] for name in TENSOR_NAMES]
    mask = make_mask("scattered", 2, 9, 5).to(backend.device)
    arguments = (*tensors, None, mask, True, "bottom-left", backend.name, True)
    torch.library.opcheck(torch.ops.scan2d.selective_scan.default, arguments)


def test_gradcheck() -> None:
    problem = make_problem((2, 2, 3, 4), 2, groups=2, dtype=torch.float64)
    leaves = [problem[name].requires_grad_() for name in TENSOR_NAMES]
    mask = make_mask("stripes", 2, 3, 4)

    def function(*tensors: Tensor) -> Tensor:
        return selective_scan_2d(*tensors, True, start="bottom-right", mask=mask, backend="reference")

    assert torch.autograd.gradcheck(function, leaves)


def test_gradients_are_the_same_to_the_last_bit(backend: BackendUnderTest) -> None:
    problem = make_problem((2, 80, 20, 40), 4, groups=2)
    mask, upstream = make_mask("scattered", 2, 20, 40).to(backend.device), upstream_of(problem)
    threads = torch.get_num_threads()
    try:
        runs = []
        for count in (1, 3):
            torch.set_num_threads(count)
            runs.append(computed(problem, upstream, backend, mask=mask))
    finally:
        torch.set_num_threads(threads)
    for name, value in runs[0].items():
        if backend.name == "reference":  # torch's own sums may depend on the number of threads
            torch.testing.assert_close(runs[1][name], value, rtol=1e-4, atol=1e-5)
        else:
            assert torch.equal(runs[1][name], value), name
