"""The wavefront scan and the state fusion against their equations, cell by cell."""

from __future__ import annotations

import os

import pytest
import torch
import torch.nn.functional as F

from scan2d import BackendUnavailableError, InvalidArgumentError, dilated_state_fusion, wavefront_scan_2d

SIZES = [(1, 1), (1, 7), (6, 1), (5, 8), (7, 3)]
NAMES = ("u", "delta_top", "delta_left", "A_top", "A_left", "B", "C", "D")


def problem(height: int, width: int, dim: int = 19, states: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(height * 100 + width)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    cells = (2, dim, height, width)
    tensors = {name: normal(*cells) for name in NAMES[:3]}
    tensors |= {name: -normal(dim, states).exp() for name in NAMES[3:5]}
    tensors |= {name: normal(2, states, height, width) for name in NAMES[5:7]}
    tensors["D"] = normal(dim)
    return {name: t.requires_grad_() for name, t in tensors.items()}


def cell_by_cell(u, delta_top, delta_left, A_top, A_left, B, C, D):
    """Eq. 8 and 9 of arXiv 2412.16146 with nothing clever."""
    dt, dl = F.softplus(delta_top), F.softplus(delta_left)
    h, rows = {}, []
    for i in range(u.shape[2]):
        row = []
        for j in range(u.shape[3]):
            x = u[:, :, i, j, None] * B[:, None, :, i, j]
            top = dt[:, :, i, j, None] * x
            left = dl[:, :, i, j, None] * x
            if i > 0:
                top = top + torch.exp(dt[:, :, i, j, None] * A_top) * h[i - 1, j]
            if j > 0:
                left = left + torch.exp(dl[:, :, i, j, None] * A_left) * h[i, j - 1]
            h[i, j] = left if i == 0 else (top if j == 0 else (top + left) / 2)
            row.append((h[i, j] * C[:, None, :, i, j]).sum(-1) + D * u[:, :, i, j])
        rows.append(torch.stack(row, -1))
    return torch.stack(rows, -2)


@pytest.mark.parametrize("size", SIZES)
def test_reference_is_the_recurrence(size):
    inputs = problem(*size)
    expected, found = cell_by_cell(**inputs), wavefront_scan_2d(**inputs, backend="reference")
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    weights = torch.randn_like(expected)
    tensors = list(inputs.values())
    # At 1 × 1 nothing decays: the rates have no part, hence allow_unused.
    there = torch.autograd.grad((expected * weights).sum(), tensors, allow_unused=True, materialize_grads=True)
    here = torch.autograd.grad((found * weights).sum(), tensors, allow_unused=True, materialize_grads=True)
    for name, a, b in zip(inputs, here, there, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("size", [*SIZES, (23, 17)])
def test_cpu_equals_reference(size):
    inputs = problem(*size)
    rounded = single(inputs)
    expected, found = wavefront_scan_2d(**inputs), wavefront_scan_2d(**rounded, backend="cpu")
    weights = torch.randn_like(expected)
    there = torch.autograd.grad(
        (expected * weights).sum(), list(inputs.values()), allow_unused=True, materialize_grads=True
    )
    here = torch.autograd.grad((found * weights.float()).sum(), list(rounded.values()))
    assert relative_error(found, expected) < 1e-5
    for name, a, b in zip(inputs, here, there, strict=True):
        assert relative_error(a, b) < 1e-4, name


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.detach().double() - expected.detach()).norm() / (expected.detach().norm() + 1e-12))


def single(inputs: dict[str, torch.Tensor], dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    """The problem in another precision; rates and skip weights stay float32."""
    kept = {"A_top", "A_left", "D"}
    return {
        name: t.detach().to(torch.float32 if name in kept else dtype).requires_grad_() for name, t in inputs.items()
    }


def results(inputs: dict[str, torch.Tensor], backend: str) -> list[torch.Tensor]:
    out = wavefront_scan_2d(**inputs, backend=backend)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return [out, *torch.autograd.grad(out, list(inputs.values()), upstream.to(out.dtype))]


def test_tiles_hand_their_states_on():
    # 8 × 32 is a tile; both walks (along rows, along columns) cross several, and 16 channels are a block.
    for size in [(19, 37), (37, 19)]:
        inputs = problem(*size, dim=33, states=2)
        for name, a, b in zip(
            ("out", *NAMES), results(single(inputs), "cpu"), results(inputs, "reference"), strict=True
        ):
            assert relative_error(a, b) < 1e-4, name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype):
    rounded = single(problem(5, 6), dtype)
    exact = {name: t.detach().double().requires_grad_() for name, t in rounded.items()}
    for name, a, b in zip(("out", *NAMES), results(rounded, "cpu"), results(exact, "reference"), strict=True):
        assert a.dtype == (torch.float32 if name in {"A_top", "A_left", "D"} else dtype)
        assert relative_error(a, b) < (3e-3 if dtype == torch.float16 else 2e-2), name


def test_channels_last_gives_the_same_and_stays_channels_last():
    inputs = single(problem(6, 9))
    turned = {
        name: t.detach().contiguous(memory_format=torch.channels_last).requires_grad_() if t.dim() == 4 else t
        for name, t in inputs.items()
    }
    for name, a, b in zip(("out", *NAMES), results(turned, "cpu"), results(inputs, "cpu"), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5, msg=name)
    assert wavefront_scan_2d(**turned).is_contiguous(memory_format=torch.channels_last)


def test_gradients_are_the_same_to_the_bit_on_any_number_of_threads():
    inputs, threads = single(problem(9, 34, dim=70)), torch.get_num_threads()
    try:
        found = []
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(results(inputs, "cpu"))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_memory_saved_for_the_backward_is_edges_only():
    inputs = single(problem(64, 64, dim=16, states=4))
    saved: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        wavefront_scan_2d(**inputs, backend="cpu")
    states = inputs["u"].numel() * 4
    assert sum(saved) - sum(t.numel() for t in inputs.values()) == states * (7 / 64 + 1 / 64)


def test_the_operator_keeps_the_rules_of_torch_library():
    inputs = single(problem(3, 4))
    operator = torch.ops.scan2d.wavefront.default
    torch.library.opcheck(operator, [*inputs.values(), "cpu", True])
    without_skip = [t for name, t in inputs.items() if name != "D"]
    torch.library.opcheck(operator, [*without_skip, None, "cpu", True])


def test_skip_weights_are_optional():
    inputs = single(problem(4, 3))
    with_skip = wavefront_scan_2d(**inputs)
    skip = inputs.pop("D")
    torch.testing.assert_close(wavefront_scan_2d(**inputs) + skip.view(-1, 1, 1) * inputs["u"], with_skip)


def test_a_backend_that_cannot_run_is_told_not_replaced():
    inputs = problem(3, 4)
    with pytest.raises(InvalidArgumentError, match="float64 needs backend='reference'"):
        wavefront_scan_2d(**inputs, backend="cpu")
    if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
        with pytest.raises(BackendUnavailableError, match="backend 'triton' cannot run here"):
            wavefront_scan_2d(**single(inputs), backend="triton")


def test_wrong_shapes_are_told():
    inputs = {name: t.detach() for name, t in problem(3, 4).items()}
    with pytest.raises(InvalidArgumentError, match="delta_left must have shape"):
        wavefront_scan_2d(**(inputs | {"delta_left": inputs["u"][:, :, :2]}))
    with pytest.raises(InvalidArgumentError, match="unknown backend"):
        wavefront_scan_2d(**inputs, backend="gpu")
    with pytest.raises(InvalidArgumentError, match="kernels must be"):
        dilated_state_fusion(inputs["u"], torch.ones(2, 19, 3, 3), torch.ones(3))


@pytest.mark.parametrize("size", SIZES)
def test_state_fusion_is_its_equation(size):
    height, width = size
    h = torch.randn(1, 2, height, width, dtype=torch.float64, requires_grad=True)
    kernels = torch.randn(3, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    alpha = torch.randn(3, dtype=torch.float64, requires_grad=True)
    rows = []
    for i in range(height):
        row = []
        for j in range(width):
            total = torch.zeros(1, 2, dtype=torch.float64)
            for k, dilation in enumerate((1, 3, 5)):
                for p in (-1, 0, 1):
                    for q in (-1, 0, 1):
                        r = min(max(i + p * dilation, 0), height - 1)
                        s = min(max(j + q * dilation, 0), width - 1)
                        total = total + alpha[k] * kernels[k, :, p + 1, q + 1] * h[:, :, r, s]
            row.append(total)
        rows.append(torch.stack(row, -1))
    expected = torch.stack(rows, -2)
    found = dilated_state_fusion(h, kernels, alpha)
    torch.testing.assert_close(found, expected)
    weights = torch.randn_like(expected)
    here = torch.autograd.grad((found * weights).sum(), [h, kernels, alpha])
    there = torch.autograd.grad((expected * weights).sum(), [h, kernels, alpha])
    torch.testing.assert_close(here, there)
