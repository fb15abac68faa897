"""The function users call, and the `torch.library` operator under it."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scan2d.backends import available_backends
from scan2d.errors import BackendUnavailableError, InvalidArgumentError
from scan2d.wavefront import reference

_BACKENDS = ("auto", "reference", "cpu")


def wavefront_scan_2d(
    u: Tensor,
    delta_top: Tensor,
    delta_left: Tensor,
    A_top: Tensor,
    A_left: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    *,
    backend: str = "auto",
) -> Tensor:
    """Scan a grid along all lattice paths from its top-left corner (Mamba2D, arXiv 2412.16146).

    With Δ the softplus of `delta_top` (t) and `delta_left` (l), ``a = exp(Δ·A)`` and ``b = Δ·B``::

        h[i, j] = ½·(a_t·h[i-1, j] + b_t·u + a_l·h[i, j-1] + b_l·u)

    where the first row has only the left term and the first column below it only the top term, not halved; then
    ``y = Σₙ C·h + D·u``.

    Parameters
    ----------
    u, delta_top, delta_left : Tensor, shape (batch, dim, H, W)
        Tokens and raw step sizes.
    A_top, A_left : Tensor, shape (dim, N)
        Real transition rates.
    B, C : Tensor, shape (batch, N, H, W)
        Input and output projections.
    D : Tensor, shape (dim,), optional
        Skip weights.
    backend : str
        ``"cpu"`` (Numba, float32), ``"reference"`` (torch, any device and dtype) or ``"auto"``: the first where it
        fits. There is no GPU kernel yet: a GPU runs the reference, one launch per anti-diagonal.

    Returns
    -------
    Tensor, shape (batch, dim, H, W)

    Raises
    ------
    InvalidArgumentError
        A shape or option does not fit.
    BackendUnavailableError
        The backend asked for cannot run here.
    """
    _check(u, delta_top, delta_left, A_top, A_left, B, C, backend)
    wide = torch.float64 if torch.float64 in (u.dtype, A_top.dtype) else torch.float32
    x, top, left, b, c = (t.to(wide).permute(0, 2, 3, 1) for t in (u, delta_top, delta_left, B, C))
    arguments = (x, F.softplus(top), F.softplus(left), A_top.to(wide), A_left.to(wide), b, c)
    if _use_cpu(backend, u, wide):
        y = torch.ops.scan2d.wavefront(*arguments)
    else:
        y = reference.scan(*arguments)
    if D is not None:
        y = y + x * D
    return y.permute(0, 3, 1, 2).to(u.dtype)


def _use_cpu(backend: str, u: Tensor, wide: torch.dtype) -> bool:
    missing = available_backends(u.device)["cpu"]
    fits = missing is None and wide == torch.float32
    if backend == "cpu" and not fits:
        raise BackendUnavailableError(f"backend 'cpu' cannot run here: {missing or 'float64 needs the reference'}")
    return backend != "reference" and fits


def _check(
    u: Tensor, top: Tensor, left: Tensor, A_top: Tensor, A_left: Tensor, B: Tensor, C: Tensor, backend: str
) -> None:
    if backend not in _BACKENDS:
        raise InvalidArgumentError(f"unknown backend '{backend}'; choose one of {', '.join(_BACKENDS)}")
    if u.dim() != 4 or 0 in u.shape:
        raise InvalidArgumentError(f"u must have shape (batch, dim, H, W), none zero, not {tuple(u.shape)}")
    batch, dim, height, width = u.shape
    states = A_top.shape[-1]
    cells = (batch, states, height, width)
    expected = {
        "delta_top": (top, u.shape), "delta_left": (left, u.shape),
        "A_top": (A_top, (dim, states)), "A_left": (A_left, (dim, states)),
        "B": (B, cells), "C": (C, cells),
    }  # fmt: skip
    for name, (tensor, shape) in expected.items():
        if tensor.shape != torch.Size(shape):
            raise InvalidArgumentError(f"{name} must have shape {tuple(shape)}, not {tuple(tensor.shape)}")


_TENSORS = "Tensor u, Tensor step_top, Tensor step_left, Tensor A_top, Tensor A_left, Tensor B, Tensor C"
_TAGS = torch.Tag.pt2_compliant_tag
torch.library.define("scan2d::wavefront", f"({_TENSORS}) -> Tensor", tags=_TAGS)
torch.library.define(
    "scan2d::wavefront_backward",
    f"(Tensor dy, {_TENSORS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    tags=_TAGS,
)


@torch.library.impl("scan2d::wavefront", "CPU")
def _forward(*tensors: Tensor) -> Tensor:
    from scan2d.wavefront import cpu

    return cpu.forward(*(t.detach() for t in tensors))


@torch.library.register_fake("scan2d::wavefront")
def _forward_fake(*tensors: Tensor) -> Tensor:
    return torch.empty_like(tensors[0], memory_format=torch.contiguous_format)


@torch.library.impl("scan2d::wavefront_backward", "CPU")
def _backward(*tensors: Tensor) -> tuple[Tensor, ...]:
    from scan2d.wavefront import cpu

    return cpu.backward(*(t.detach() for t in tensors))


@torch.library.register_fake("scan2d::wavefront_backward")
def _backward_fake(*tensors: Tensor) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(t, memory_format=torch.contiguous_format) for t in tensors[1:])


def _setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor, ...]:
    gradients: tuple[Tensor, ...] = torch.ops.scan2d.wavefront_backward(dy, *ctx.saved_tensors)
    return gradients


torch.library.register_autograd("scan2d::wavefront", _differentiate, setup_context=_setup_context)
