"""Random problems, the oracle, and the backends under test."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scan2d import available_backends, selective_scan_2d
from scan2d.reference import scan

TENSOR_NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")


@dataclass(frozen=True)
class BackendUnderTest:
    """A backend and the device its tests run on."""

    name: str
    device: str


BACKENDS = (
    BackendUnderTest("reference", "cpu"),
    BackendUnderTest("cpu", "cpu"),
    BackendUnderTest("triton", "cuda"),
)


def skip_if_unavailable(backend: BackendUnderTest) -> BackendUnderTest:
    """Skip the running test, with the reason, where the backend cannot run."""
    if backend.device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    reason = available_backends(backend.device)[backend.name]
    if reason is not None:
        pytest.skip(f"backend '{backend.name}': {reason}")
    return backend


def shared_folder() -> Path | None:
    """Return the folder of golden files, if there: $WSI2DMAMBA_SHARED, or `shared` beside the repository."""
    named = os.environ.get("WSI2DMAMBA_SHARED")
    candidates = [Path(named)] if named else [p / "shared" for p in Path(__file__).resolve().parents]
    return next((folder for folder in candidates if (folder / "golden").is_dir()), None)


def make_problem(
    shape: tuple[int, int, int, int],
    states: int = 4,
    groups: int | None = 1,
    *,
    options: bool = True,
    dtype: torch.dtype = torch.float32,
    channels_last: bool = False,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Draw the tensors of a problem whose states fade over a few cells.

    Parameters
    ----------
    shape : tuple
        (batch, dim, H, W).
    states : int
        N.
    groups : int or None
        Groups of B and C; None leaves the group axis out.
    options : bool
        Whether D, z and delta_bias are there.
    dtype : torch.dtype
        Of all tensors except A, D and delta_bias, which stay float32 (float64 stays everywhere).
    channels_last : bool
        Memory order of u, delta and z.
    seed : int
        Of the random numbers.
    """
    batch, dim, height, width = shape
    generator = torch.Generator().manual_seed(seed)
    order = torch.channels_last if channels_last else torch.contiguous_format
    weights = dtype if dtype == torch.float64 else torch.float32

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    per_cell = (batch, states, height, width) if groups is None else (batch, groups, states, height, width)
    problem = {
        "u": normal(*shape).to(dtype).contiguous(memory_format=order),
        "delta": (normal(*shape) - 1).to(dtype).contiguous(memory_format=order),
        "A": -torch.rand(dim, states, generator=generator, dtype=torch.float64).mul(2).add(0.1).to(weights),
        "B": normal(*per_cell).to(dtype),
        "C": normal(*per_cell).to(dtype),
    }
    if options:
        problem["D"] = normal(dim).to(weights)
        problem["z"] = normal(*shape).to(dtype).contiguous(memory_format=order)
        problem["delta_bias"] = (0.5 * normal(dim)).to(weights)
    return problem


def oracle(
    problem: dict[str, Tensor],
    upstream: Tensor,
    start: str = "top-left",
    lengths: Tensor | None = None,
    mask: Tensor | None = None,
) -> dict[str, Tensor]:
    """Output and every gradient in float64, from the definition through autograd."""
    leaves = {name: x.detach().double().cpu().requires_grad_() for name, x in problem.items()}
    grouped = dict(leaves)
    for name in ("B", "C"):
        grouped[name] = leaves[name] if leaves[name].dim() == 5 else leaves[name].unsqueeze(1)
    out = scan(**grouped, delta_softplus=True, start=start, lengths=lengths, mask=mask)
    out.backward(upstream.double().cpu())
    return _results(out, leaves)


def computed(
    problem: dict[str, Tensor], upstream: Tensor, backend: BackendUnderTest, **options: object
) -> dict[str, Tensor]:
    """Output and every gradient from the operator."""
    leaves = {name: _moved(x, backend.device).requires_grad_() for name, x in problem.items()}
    out = selective_scan_2d(**leaves, delta_softplus=True, backend=backend.name, **options)  # type: ignore[arg-type]
    out.backward(upstream.to(backend.device, out.dtype))
    return _results(out, leaves)


def relative_error(value: Tensor, truth: Tensor) -> float:
    """Root mean square of the difference over that of the truth."""
    difference = (value.double().cpu() - truth).pow(2).mean()
    return float((difference / truth.pow(2).mean().clamp_min(1e-30)).sqrt())


def _moved(x: Tensor, device: str) -> Tensor:
    return x.detach().clone().to(device)


def _results(out: Tensor, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    gradients = {f"d{name}": torch.zeros_like(x) if x.grad is None else x.grad for name, x in leaves.items()}
    return {"out": out.detach(), **gradients}
