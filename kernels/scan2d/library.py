"""The `torch.library` operators `scan2d::selective_scan` and `scan2d::selective_scan_backward`.

This file only connects: it names the schema, gives the fake kernels that `torch.compile` traces with, ties
the backward to the forward, and hands the work to a backend. Arguments are assumed checked
(`operator.py` does that).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from scan2d.backends import BackendModule, load_backend
from scan2d.errors import InvalidArgumentError

_TENSORS = "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, Tensor? delta_bias"
_OPTIONS = "Tensor? lengths, Tensor? mask, bool delta_softplus, str start, str backend"

torch.library.define(
    "scan2d::selective_scan",
    f"({_TENSORS}, {_OPTIONS}, bool save) -> (Tensor, Tensor)",
    tags=torch.Tag.pt2_compliant_tag,
)
torch.library.define(
    "scan2d::selective_scan_backward",
    f"(Tensor dout, {_TENSORS}, Tensor saved, {_OPTIONS}) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    tags=torch.Tag.pt2_compliant_tag,
)


def _backend_for(name: str, *tensors: Tensor | None) -> BackendModule:
    present = [t for t in tensors if t is not None]
    return load_backend(name, present[0].device.type, tuple(t.dtype for t in present))


def _check_lengths(lengths: Tensor | None, u: Tensor) -> None:
    """Check the values of `lengths`, on the CPU only: on a GPU that would make the host wait."""
    if lengths is None or lengths.device.type != "cpu":
        return
    for index, (rows, columns) in enumerate(lengths.tolist()):
        if not (1 <= rows <= u.shape[2] and 1 <= columns <= u.shape[3]):
            raise InvalidArgumentError(
                f"lengths of item {index} are {rows} rows and {columns} columns; "
                f"they must be 1 to {u.shape[2]} and 1 to {u.shape[3]}, the size of u"
            )


def in_form_of(result: Tensor | None, like: Tensor | None, fallback: Tensor) -> Tensor:
    """Give `result` the dtype and strides of `torch.empty_like(like)`; an empty tensor if there is none.

    The fake kernels promise exactly that form, and an operator cannot return None.
    """
    if like is None or result is None:
        return fallback.new_empty(0)
    if result.dtype == like.dtype and result.stride() == like.stride() and result.shape == like.shape:
        return result
    promised = torch.empty_like(like)
    if result.dtype == promised.dtype and result.stride() == promised.stride():
        return result
    return promised.copy_(result)


@torch.library.impl("scan2d::selective_scan", "CompositeExplicitAutograd")
def _selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    lengths: Tensor | None,
    mask: Tensor | None,
    delta_softplus: bool,
    start: str,
    backend: str,
    save: bool,
) -> tuple[Tensor, Tensor]:
    _check_lengths(lengths, u)
    module = _backend_for(backend, u, delta, A, B, C, D, z, delta_bias)
    out, saved = module.forward(u, delta, A, B, C, D, z, delta_bias, delta_softplus, start, lengths, mask, save)
    return in_form_of(out, u, u), saved


@torch.library.register_fake("scan2d::selective_scan")
def _selective_scan_fake(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    lengths: Tensor | None,
    mask: Tensor | None,
    delta_softplus: bool,
    start: str,
    backend: str,
    save: bool,
) -> tuple[Tensor, Tensor]:
    module = _backend_for(backend, u, delta, A, B, C, D, z, delta_bias)
    batch, groups, states, height, width = B.shape
    shape = module.saved_shape(batch, u.shape[1], groups, states, height, width) if save else (0,)
    return torch.empty_like(u), u.new_empty(shape, dtype=torch.float32)


@torch.library.impl("scan2d::selective_scan_backward", "CompositeExplicitAutograd")
def _selective_scan_backward(
    dout: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    saved: Tensor,
    lengths: Tensor | None,
    mask: Tensor | None,
    delta_softplus: bool,
    start: str,
    backend: str,
) -> tuple[Tensor, ...]:
    inputs = (u, delta, A, B, C, D, z, delta_bias)
    module = _backend_for(backend, *inputs)
    gradients = module.backward(dout, *inputs, saved, delta_softplus, start, lengths, mask)
    return tuple(in_form_of(grad, x, u) for grad, x in zip(gradients, inputs, strict=True))


@torch.library.register_fake("scan2d::selective_scan_backward")
def _selective_scan_backward_fake(
    dout: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    saved: Tensor,
    lengths: Tensor | None,
    mask: Tensor | None,
    delta_softplus: bool,
    start: str,
    backend: str,
) -> tuple[Tensor, ...]:
    inputs = (u, delta, A, B, C, D, z, delta_bias)
    return tuple(u.new_empty(0) if x is None else torch.empty_like(x) for x in inputs)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    tensors, (lengths, mask, delta_softplus, start, backend, save) = inputs[:8], inputs[8:]
    if not save:
        raise RuntimeError("scan2d::selective_scan was called with save=False but a gradient is required")
    out_saved = output[1]
    ctx.mark_non_differentiable(out_saved)
    ctx.set_materialize_grads(False)  # else `saved`, which has no gradient, gets one of zeros on every backward
    ctx.save_for_backward(*tensors, out_saved, lengths, mask)
    ctx.options = (delta_softplus, start, backend)


def _differentiate(ctx: Any, dout: Tensor | None, _dsaved: None) -> tuple[Tensor | None, ...]:
    if dout is None:
        return (None,) * 14
    *tensors, saved, lengths, mask = ctx.saved_tensors
    gradients = torch.ops.scan2d.selective_scan_backward(dout, *tensors, saved, lengths, mask, *ctx.options)
    wanted = ctx.needs_input_grad[:8]
    of_tensors = [
        grad if x is not None and want else None for grad, x, want in zip(gradients, tensors, wanted, strict=True)
    ]
    return (*of_tensors, None, None, None, None, None, None)


torch.library.register_autograd("scan2d::selective_scan", _differentiate, setup_context=_setup_context)
