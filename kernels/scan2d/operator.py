"""The functions users call: they check their arguments and call the `torch.library` operator."""

from __future__ import annotations

import torch
from torch import Tensor

import scan2d.library  # noqa: F401 - registers torch.ops.scan2d
from scan2d.backends import BACKEND_NAMES
from scan2d.errors import InvalidArgumentError

START_CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")
"""The corners a scan can leave from."""

_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def selective_scan_2d(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    start: str = "top-left",
    backend: str = "auto",
    lengths: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """Scan a grid of tokens selectively in two dimensions (2DMamba, arXiv 2412.00678).

    For every channel d and state n, with ``Δ = softplus(delta + delta_bias)`` and ``a = exp(Δ·A)``::

        g[i, j] = a[i, j]·g[i, j-1] + Δ·u·B        along each row
        h[i, j] = a[i, j]·h[i-1, j] + g[i, j]      then down each column
        out     = (Σₙ C·h + D·u)·silu(z)

    Parameters
    ----------
    u, delta : Tensor, shape (batch, dim, H, W)
        Tokens and step sizes. Any strides; ``torch.channels_last`` is the fast layout.
    A : Tensor, shape (dim, N)
        Real transition rates, negative for a state that fades.
    B, C : Tensor, shape (batch, N, H, W) or (batch, groups, N, H, W)
        Input and output projections; ``dim`` is a multiple of ``groups``, and consecutive channels
        share a group.
    D : Tensor, shape (dim,), optional
        Skip weights.
    z : Tensor, shape (batch, dim, H, W), optional
        Gate; the output is multiplied by ``silu(z)``.
    delta_bias : Tensor, shape (dim,), optional
        Added to ``delta``.
    delta_softplus : bool
        Whether Δ is the softplus of ``delta + delta_bias``, or that sum itself.
    start : str
        The corner the scan leaves from, one of `START_CORNERS`.
    backend : str
        ``"auto"``, ``"reference"``, ``"cpu"`` or ``"triton"``.
    lengths : Tensor, shape (batch, 2), integers, optional
        (rows, columns) of every item of a batch padded to (H, W). An item is the top-left rectangle
        of that size and is scanned from its own corners; outside it the output and all gradients are zero.
    mask : Tensor, shape (batch, H, W), bool, optional
        Cells that the scan visits. It crosses the others unchanged: an occupied cell takes g from the occupied cell
        before it in its row and h from the one before it in its column, however far. In skipped cells the inputs
        are never used (they may be NaN), and the output and all gradients are zero. Not together with `lengths`.

    Returns
    -------
    Tensor, shape (batch, dim, H, W)
        In the dtype and memory layout of ``u``. Computed in float32, or float64 if any input is float64.

    Raises
    ------
    InvalidArgumentError
        A shape, dtype, device or option does not fit.
    BackendUnavailableError
        The backend asked for cannot run here.
    """
    _check_option("start", start, START_CORNERS)
    _check_option("backend", backend, BACKEND_NAMES)
    if u.dim() != 4:
        raise InvalidArgumentError(f"u must have shape (batch, dim, H, W), not {tuple(u.shape)}")
    batch, dim, height, width = u.shape
    if A.dim() != 2 or A.shape[0] != dim:
        raise InvalidArgumentError(f"A must have shape (dim, N) with dim = {dim}, not {tuple(A.shape)}")
    B = _with_groups("B", B)
    C = _with_groups("C", C)
    groups = B.shape[1]
    if 0 in u.shape or 0 in A.shape or groups == 0:
        raise InvalidArgumentError(f"sizes must be at least 1: u is {tuple(u.shape)}, A is {tuple(A.shape)}")
    if dim % groups != 0:
        raise InvalidArgumentError(f"dim = {dim} is not a multiple of the {groups} groups of B")
    per_cell = (batch, groups, A.shape[1], height, width)
    _check_shape("delta", delta, (batch, dim, height, width))
    _check_shape("B", B, per_cell)
    _check_shape("C", C, per_cell)
    _check_shape("D", D, (dim,))
    _check_shape("z", z, (batch, dim, height, width))
    _check_shape("delta_bias", delta_bias, (dim,))
    tensors = {"u": u, "delta": delta, "A": A, "B": B, "C": C, "D": D, "z": z, "delta_bias": delta_bias}
    _check_dtypes_and_devices(tensors, u.device)
    save = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors.values())
    out, _ = torch.ops.scan2d.selective_scan(
        u,
        delta,
        A,
        B,
        C,
        D,
        z,
        delta_bias,
        _checked_lengths(lengths, u),
        _checked_mask(mask, lengths, u),
        bool(delta_softplus),
        start,
        backend,
        save,
    )
    return out


def selective_scan_1d(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    *,
    reverse: bool = False,
    backend: str = "auto",
    lengths: Tensor | None = None,
) -> Tensor:
    """Scan a sequence selectively (Mamba, arXiv 2312.00752): `selective_scan_2d` on a grid of one row.

    Parameters
    ----------
    u, delta, z : Tensor, shape (batch, dim, L)
        As in `selective_scan_2d`.
    A : Tensor, shape (dim, N)
        Real transition rates.
    B, C : Tensor, shape (batch, N, L) or (batch, groups, N, L)
        Input and output projections.
    D, delta_bias : Tensor, shape (dim,), optional
        As in `selective_scan_2d`.
    delta_softplus : bool
        As in `selective_scan_2d`.
    reverse : bool
        Scan from the last token to the first.
    backend : str
        As in `selective_scan_2d`.
    lengths : Tensor, shape (batch,), integers, optional
        Number of tokens of every item of a padded batch.

    Returns
    -------
    Tensor, shape (batch, dim, L)

    Raises
    ------
    InvalidArgumentError
        A shape, dtype, device or option does not fit.
    BackendUnavailableError
        The backend asked for cannot run here.
    """
    if u.dim() != 3:
        raise InvalidArgumentError(f"u must have shape (batch, dim, L), not {tuple(u.shape)}")
    for name, tensor, ranks in (("delta", delta, (3,)), ("B", B, (3, 4)), ("C", C, (3, 4)), ("z", z, (3,))):
        if tensor is not None and tensor.dim() not in ranks:
            raise InvalidArgumentError(f"{name} has the wrong number of dimensions: {tuple(tensor.shape)}")
    if lengths is not None:
        if lengths.dim() != 1:
            raise InvalidArgumentError(f"lengths must have shape (batch,), not {tuple(lengths.shape)}")
        lengths = torch.stack([torch.ones_like(lengths), lengths], dim=1)
    out = selective_scan_2d(
        u.unsqueeze(-2),
        delta.unsqueeze(-2),
        A,
        B.unsqueeze(-2),
        C.unsqueeze(-2),
        D,
        None if z is None else z.unsqueeze(-2),
        delta_bias,
        delta_softplus,
        start="top-right" if reverse else "top-left",
        backend=backend,
        lengths=lengths,
    )
    return out.squeeze(-2)


def _check_option(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InvalidArgumentError(f"{name}={value!r} is not one of {', '.join(choices)}")


def _with_groups(name: str, tensor: Tensor) -> Tensor:
    if tensor.dim() == 4:
        return tensor.unsqueeze(1)
    if tensor.dim() == 5:
        return tensor
    raise InvalidArgumentError(
        f"{name} must have shape (batch, N, H, W) or (batch, groups, N, H, W), not {tuple(tensor.shape)}"
    )


def _check_shape(name: str, tensor: Tensor | None, shape: tuple[int, ...]) -> None:
    if tensor is not None and tuple(tensor.shape) != shape:
        raise InvalidArgumentError(f"{name} must have shape {shape} to fit u and A, not {tuple(tensor.shape)}")


def _check_dtypes_and_devices(tensors: dict[str, Tensor | None], device: torch.device) -> None:
    for name, tensor in tensors.items():
        if tensor is None:
            continue
        if tensor.dtype not in _DTYPES:
            raise InvalidArgumentError(f"{name} must be float32, float16, bfloat16 or float64, not {tensor.dtype}")
        if tensor.device != device:
            raise InvalidArgumentError(f"{name} is on {tensor.device} and u on {device}; put them on one device")


def _checked_lengths(lengths: Tensor | None, u: Tensor) -> Tensor | None:
    if lengths is None:
        return None
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        raise InvalidArgumentError(f"lengths must be integers, not {lengths.dtype}")
    if tuple(lengths.shape) != (u.shape[0], 2):
        raise InvalidArgumentError(
            f"lengths must have shape (batch, 2) = ({u.shape[0]}, 2), not {tuple(lengths.shape)}"
        )
    return lengths.to(device=u.device, dtype=torch.int64)


def _checked_mask(mask: Tensor | None, lengths: Tensor | None, u: Tensor) -> Tensor | None:
    if mask is None:
        return None
    if lengths is not None:
        raise InvalidArgumentError("give lengths or mask, not both: a mask can leave out the padding too")
    if mask.dtype != torch.bool:
        raise InvalidArgumentError(f"mask must be bool, not {mask.dtype}")
    shape = (u.shape[0], *u.shape[2:])
    if tuple(mask.shape) != shape:
        raise InvalidArgumentError(f"mask must have shape (batch, H, W) = {shape}, not {tuple(mask.shape)}")
    return mask.to(u.device)
