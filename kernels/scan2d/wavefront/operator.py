"""The function users call: it checks its arguments and calls the `torch.library` operator."""

from __future__ import annotations

import torch
from torch import Tensor

import scan2d.wavefront.library  # noqa: F401 - registers torch.ops.scan2d.wavefront
from scan2d.backends import choose_backend
from scan2d.errors import InvalidArgumentError
from scan2d.wavefront import reference


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
        Tokens and raw step sizes. Any strides; ``torch.channels_last`` is the fast layout.
    A_top, A_left : Tensor, shape (dim, N)
        Real transition rates, negative for a state that fades.
    B, C : Tensor, shape (batch, N, H, W)
        Input and output projections.
    D : Tensor, shape (dim,), optional
        Skip weights.
    backend : str
        ``"auto"``, ``"reference"`` (torch, one step per anti-diagonal), ``"cpu"`` (Numba) or ``"triton"``; chosen as
        by `selective_scan_2d`.

    Returns
    -------
    Tensor, shape (batch, dim, H, W)
        In the dtype of ``u``. Computed in float32, or float64 if any input is float64.

    Raises
    ------
    InvalidArgumentError
        A shape, dtype, device or option does not fit.
    BackendUnavailableError
        The backend asked for cannot run here.
    """
    tensors = {
        "u": u, "delta_top": delta_top, "delta_left": delta_left,
        "A_top": A_top, "A_left": A_left, "B": B, "C": C, "D": D,
    }  # fmt: skip
    present = {name: t for name, t in tensors.items() if t is not None}
    _check(present)
    chosen = choose_backend(backend, u.device.type, tuple(t.dtype for t in present.values()))
    if chosen == "reference":
        return reference.scan(u, delta_top, delta_left, A_top, A_left, B, C, D)
    save = torch.is_grad_enabled() and any(t.requires_grad for t in present.values())
    out, _ = torch.ops.scan2d.wavefront(*tensors.values(), chosen, save)
    return out


def _check(tensors: dict[str, Tensor]) -> None:
    u, A = tensors["u"], tensors["A_top"]
    if u.dim() != 4 or A.dim() != 2 or 0 in (*u.shape, *A.shape):
        raise InvalidArgumentError(
            f"u must have shape (batch, dim, H, W) and A_top (dim, N), all sizes at least 1, not {tuple(u.shape)} "
            f"and {tuple(A.shape)}"
        )
    batch, dim, height, width = u.shape
    rates, cells = (dim, A.shape[1]), (batch, A.shape[1], height, width)
    expected = {"A_top": rates, "A_left": rates, "B": cells, "C": cells, "D": (dim,)}
    for name, tensor in tensors.items():
        shape = expected.get(name, tuple(u.shape))
        if tuple(tensor.shape) != shape:
            raise InvalidArgumentError(f"{name} must have shape {shape} to fit u and A_top, not {tuple(tensor.shape)}")
        if tensor.device != u.device:
            raise InvalidArgumentError(f"{name} is on {tensor.device} and u on {u.device}; put them on one device")
