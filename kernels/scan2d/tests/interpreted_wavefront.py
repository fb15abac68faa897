"""The wavefront kernels under Triton's interpreter; `test_wavefront_triton.py` runs this in a process of its own.

Tiles are small so that odd little grids have several strips, blocks of channels and of states.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from scan2d import wavefront_scan_2d
from scan2d.tests.test_wavefront import NAMES, problem, relative_error, results, single
from scan2d.wavefront import gpu


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(gpu, "ROWS", 2)
    monkeypatch.setattr(gpu, "SHIPPED_TILES", (gpu.Tile(2, 2, 1, 4, 1), gpu.Tile(4, 2, 1, 4, 1)))
    # Fewer programs than work: each takes several blocks through one scratch.
    monkeypatch.setattr(gpu, "_PROGRAMS_PER_MULTIPROCESSOR", 1)
    yield


def check(inputs: dict[str, torch.Tensor], tolerance: float = 2e-5) -> None:
    exact = {name: t.detach().double().requires_grad_() for name, t in inputs.items()}
    found, expected = results(inputs, "triton"), results(exact, "reference")
    for name, a, b in zip(("out", *NAMES), found, expected, strict=True):
        assert a.shape == b.shape, name
        assert relative_error(a, b) < tolerance, name


@pytest.mark.parametrize(("size", "states"), [((1, 1), 2), ((1, 5), 3), ((5, 1), 2), ((3, 4), 6), ((5, 2), 3)], ids=str)
def test_output_and_every_gradient(size: tuple[int, int], states: int) -> None:
    check(single(problem(*size, dim=5, states=states)))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 3e-3), (torch.bfloat16, 2e-2)], ids=str)
def test_half_precision(dtype: torch.dtype, tolerance: float) -> None:
    check(single(problem(3, 2, dim=3, states=6), dtype), tolerance)


def test_any_layout() -> None:
    inputs = single(problem(3, 4, dim=3, states=2))
    for name, order in (("u", (0, 2, 3, 1)), ("delta_left", (3, 2, 1, 0)), ("B", (0, 2, 3, 1)), ("A_top", (1, 0))):
        back = [order.index(axis) for axis in range(len(order))]
        inputs[name] = inputs[name].detach().permute(order).contiguous().permute(back).requires_grad_()
    check(inputs)


def test_saved_states_are_only_read_and_gradients_repeat_to_the_bit() -> None:
    inputs = [t.detach() for t in single(problem(3, 3, dim=5, states=3)).values()]
    out, saved = gpu.forward(*inputs, save=True)
    before = saved.clone()
    first, again = (gpu.backward(torch.ones_like(out), *inputs, saved) for _ in range(2))
    assert torch.equal(saved, before)
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))


def test_without_gradient_or_skip_the_output_is_the_same() -> None:
    inputs = single(problem(5, 2, dim=3, states=2))
    expected = wavefront_scan_2d(**inputs, backend="reference")
    with torch.no_grad():
        torch.testing.assert_close(wavefront_scan_2d(**inputs, backend="triton"), expected)
        skip = inputs.pop("D").view(-1, 1, 1) * inputs["u"]
        torch.testing.assert_close(wavefront_scan_2d(**inputs, backend="triton") + skip, expected)
