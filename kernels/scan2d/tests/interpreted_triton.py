"""The GPU kernels under Triton's interpreter; `test_triton_interpreted.py` runs this in a process of its own.

Tiles are small so that odd little grids have several strips, chunks, blocks of channels and of states.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from scan2d import selective_scan_1d
from scan2d.tests.problems import BackendUnderTest, computed, make_problem, oracle, relative_error
from scan2d.tests.test_backends_agree import check
from scan2d.triton_backend import autotune, backward, forward, table, workspace
from scan2d.triton_backend.problem import Problem

TRITON = BackendUnderTest("triton", "cpu")
SMALL = table.Tile(rows=4, states=8, forward_channels=2, backward_channels=4, column_channels=4, column_rows=2, chunk=3)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SCAN2D_TRITON_CHAIN", "0")
    monkeypatch.setattr(table, "TILE_16", SMALL)
    monkeypatch.setattr(table, "TILE_4", dataclasses.replace(SMALL, states=4, quad=1, backward_quad=1))
    for name, size in (
        ("CARRY_STRIPS", 2),
        ("CARRY_STATES", 4),
        ("CARRY_CHANNELS", 2),
        ("SUM_TERMS", 2),
        ("SUM_LANES", 8),
    ):
        monkeypatch.setattr(table, name, size)
    # Fewer programs than work: each takes several strips through one workspace.
    monkeypatch.setattr(table, "gradient_programs", lambda work, launch, device: max(1, min(work, 3)))
    yield


@pytest.mark.parametrize("chain", ["0", "1"], ids=["three-passes", "chained"])
@pytest.mark.parametrize(
    ("shape", "states", "groups", "start"),
    [
        ((1, 1, 1, 1), 1, 1, "top-left"),
        ((2, 3, 5, 4), 3, 1, "bottom-right"),
        ((1, 10, 4, 3), 5, 2, "top-right"),
        ((1, 5, 1, 7), 2, 1, "top-right"),
        ((1, 2, 7, 1), 2, 2, "bottom-left"),
    ],
    ids=str,
)
def test_output_and_every_gradient(
    shape: tuple[int, int, int, int], states: int, groups: int, start: str, chain: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCAN2D_TRITON_CHAIN", chain)
    check(make_problem(shape, states, groups), TRITON, start)


@pytest.mark.parametrize(("states", "start"), [(17, "top-right"), (3, "bottom-left")], ids=str)
def test_tiles_that_ship(states: int, start: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, tile in zip(("TILE_16", "TILE_4"), table.SHIPPED_TILES, strict=True):
        monkeypatch.setattr(table, name, tile)
    check(make_problem((1, 3, 9, 3), states), TRITON, start)


@pytest.mark.parametrize("present", [("D",), ("z",), ("delta_bias",), ()], ids=str)
def test_optional_tensors(present: tuple[str, ...]) -> None:
    problem = make_problem((1, 2, 3, 2), 2, groups=None)
    for name in {"D", "z", "delta_bias"} - set(present):
        del problem[name]
    check(problem, TRITON)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_and_channels_last(dtype: torch.dtype) -> None:
    check(make_problem((1, 6, 3, 3), 5, dtype=dtype, channels_last=True), TRITON)


@pytest.mark.parametrize(("start", "chain"), [("bottom-right", "0"), ("top-left", "1"), ("bottom-left", "1")])
def test_ragged_batch(start: str, chain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCAN2D_TRITON_CHAIN", chain)
    check(make_problem((3, 2, 5, 4), 2, groups=2), TRITON, start, torch.tensor([[5, 4], [1, 2], [4, 3]]))


def test_ragged_sequences() -> None:
    check(make_problem((2, 2, 1, 7), 2), TRITON, "top-right", torch.tensor([[1, 7], [1, 4]]))


def test_padding_is_never_read() -> None:
    problem = make_problem((2, 2, 5, 4), 3)
    lengths = torch.tensor([[2, 4], [5, 1]])
    upstream = torch.full((2, 2, 5, 4), float("nan"))
    for index, (rows, columns) in enumerate(lengths.tolist()):
        for name in ("u", "delta", "B", "C", "z"):
            problem[name][index, ..., rows:, :] = float("nan")
            problem[name][index, ..., columns:] = float("nan")
        upstream[index, :, :rows, :columns] = 1.0
    for name, value in computed(problem, upstream, TRITON, lengths=lengths).items():
        assert value.isfinite().all(), name


def test_adjoint_carried_between_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "carry_edges", lambda width, strips: strips > 1)
    check(make_problem((1, 2, 7, 3), 2), TRITON, "bottom-left")
    check(make_problem((2, 1, 7, 2), 2), TRITON, "top-left", torch.tensor([[7, 2], [3, 1]]))


def test_launches_that_tuning_tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SCAN2D_TRITON_CHAIN")
    monkeypatch.setenv("SCAN2D_TRITON_AUTOTUNE", str(tmp_path / "launches.json"))
    listed = autotune.candidates
    monkeypatch.setattr(autotune, "candidates", lambda *call: listed(*call)[-2:])
    seconds = iter([2.0, 1.0, 2.0, 1.0])  # the last one, which carries edges, is the fastest both ways
    monkeypatch.setattr(autotune, "seconds_on_device", lambda run: run() or next(seconds))
    check(make_problem((1, 2, 9, 2), 9), TRITON, "bottom-left")
    assert next(seconds, None) is None


def test_strides_that_no_layout_has() -> None:
    problem = make_problem((1, 2, 3, 4), 2)
    for name in ("u", "delta", "z", "B", "C"):
        doubled = problem[name].repeat_interleave(2, dim=-1).transpose(-1, -2).contiguous().transpose(-1, -2)
        problem[name] = doubled[..., ::2]
        assert problem[name].stride(-1) != 1
    check(problem, TRITON)


def test_gradients_are_bitwise_repeatable_and_saved_states_untouched() -> None:
    problem = make_problem((1, 3, 5, 3), 2)
    inputs = [problem[name] for name in ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")]
    out, saved = forward(*inputs, True, "top-left", None, None, True)
    before = saved.clone()
    first = backward(torch.ones_like(out), *inputs, saved, True, "top-left", None, None)
    second = backward(torch.ones_like(out), *inputs, saved, True, "top-left", None, None)
    assert torch.equal(saved, before)
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


class Allocations(TorchDispatchMode):
    """Counts the bytes of tensors that are made, not those of views and copies."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(word in str(func) for word in ("empty", "zeros", "full")):
            self.bytes += result.untyped_storage().nbytes()
        return result


@pytest.mark.parametrize(("dtype", "states"), [(torch.float32, 2), (torch.bfloat16, 9)], ids=str)
def test_allocations_are_those_of_the_workspace(dtype: torch.dtype, states: int) -> None:
    problem = make_problem((1, 2, 9, 3), states, dtype=dtype)
    inputs = [problem[name] for name in ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")]
    call = Problem(*inputs, True, "top-left", None)
    launch = table.default_launch(0, call.strips, call.width, False, table.Device(2, 32))
    with Allocations() as forward_made:
        out, saved = forward(*inputs, True, "top-left", None, None, True)
    expected = workspace.total_bytes(workspace.forward_workspace(call, launch, True).values())
    assert forward_made.bytes == expected + out.nbytes + saved.nbytes
    with Allocations() as backward_made:
        gradients = backward(torch.ones_like(out), *inputs, saved, True, "top-left", None, None)
    # The fixture allows three programs.
    expected = workspace.total_bytes(workspace.backward_workspace(call, launch, 3).values())
    assert backward_made.bytes == expected + sum(x.nbytes for x in gradients if x is not None)


def test_sequence_entry_point() -> None:
    problem = make_problem((1, 3, 1, 7), 2, groups=None)
    flat = {name: x.squeeze(-2) if x.dim() == 4 else x for name, x in problem.items()}
    got = selective_scan_1d(**flat, delta_softplus=True, backend="triton")
    exact = selective_scan_1d(**flat, delta_softplus=True, backend="reference")
    torch.testing.assert_close(got, exact)


@pytest.mark.parametrize(
    ("shape", "start"),
    [((2, 3, 9, 4), "bottom-right"), ((1, 6, 4, 5), "top-right"), ((1, 2, 1, 7), "top-left")],
    ids=str,
)
def test_mask(shape: tuple[int, int, int, int], start: str) -> None:
    problem = make_problem(shape, 5, groups=shape[1] // 3 or 1)
    mask = torch.rand(shape[0], *shape[2:], generator=torch.Generator().manual_seed(3)) < 0.5
    upstream = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    truth = oracle(problem, upstream, start, mask=mask)
    gaps = ~mask[:, None]
    for name in ("u", "delta", "B", "C", "z"):
        problem[name].masked_fill_(gaps if problem[name].dim() == 4 else gaps[:, None], float("nan"))
    got = computed(problem, upstream.masked_fill(gaps, float("nan")), TRITON, start=start, mask=mask)
    for name, value in got.items():
        assert relative_error(value, truth[name]) < (1e-5 if name == "out" else 1e-4), name


def test_mask_in_half_precision() -> None:
    problem = make_problem((1, 3, 5, 4), 2, dtype=torch.bfloat16)
    mask = torch.rand(1, 5, 4, generator=torch.Generator().manual_seed(5)) < 0.6
    upstream = torch.ones(1, 3, 5, 4)
    truth = oracle(problem, upstream, mask=mask)
    for name, value in computed(problem, upstream, TRITON, mask=mask).items():
        assert relative_error(value, truth[name]) < (5e-3 if name == "out" else 1e-2), name


def test_mask_where_edges_are_carried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "carry_edges", lambda width, strips: strips > 1)
    problem = make_problem((1, 2, 10, 2), 2)
    mask = torch.rand(1, 10, 2, generator=torch.Generator().manual_seed(4)) < 0.5
    upstream = torch.ones(1, 2, 10, 2)
    truth = oracle(problem, upstream, mask=mask)
    for name, value in computed(problem, upstream, TRITON, mask=mask).items():
        assert relative_error(value, truth[name]) < (1e-5 if name == "out" else 1e-4), name
