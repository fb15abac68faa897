"""The `torch.library` operators `scan2d::wavefront` and `scan2d::wavefront_backward`.

A backend is a module with three functions, as in `scan2d.backends`::

    saved_shape(batch, dim, states, height, width) -> tuple[int, ...]
    forward(u, delta_top, delta_left, A_top, A_left, B, C, D, save) -> (out, saved)
    backward(dout, u, delta_top, delta_left, A_top, A_left, B, C, D, saved) -> eight gradients, None for an absent D

`reference` is none of them: autograd differentiates it, so `operator.py` calls it directly.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor

from scan2d.library import in_form_of

MODULES = {"cpu": "scan2d.wavefront.cpu", "triton": "scan2d.wavefront.gpu"}
"""The modules of the backends, imported at first use."""

_TENSORS = "Tensor u, Tensor delta_top, Tensor delta_left, Tensor A_top, Tensor A_left, Tensor B, Tensor C, Tensor? D"
_EIGHT = ", ".join(["Tensor"] * 8)
_TAGS = torch.Tag.pt2_compliant_tag
torch.library.define("scan2d::wavefront", f"({_TENSORS}, str backend, bool save) -> (Tensor, Tensor)", tags=_TAGS)
torch.library.define(
    "scan2d::wavefront_backward", f"(Tensor dout, {_TENSORS}, Tensor saved, str backend) -> ({_EIGHT})", tags=_TAGS
)


def _module(backend: str) -> Any:
    return importlib.import_module(MODULES[backend])


@torch.library.impl("scan2d::wavefront", "CompositeExplicitAutograd")
def _wavefront(*arguments: Any) -> tuple[Tensor, Tensor]:
    *tensors, backend, save = arguments
    out, saved = _module(backend).forward(*tensors, save)
    return in_form_of(out, tensors[0], out), saved


@torch.library.register_fake("scan2d::wavefront")
def _wavefront_fake(*arguments: Any) -> tuple[Tensor, Tensor]:
    *tensors, backend, save = arguments
    u, B = tensors[0], tensors[5]
    batch, states, height, width = B.shape
    shape = _module(backend).saved_shape(batch, u.shape[1], states, height, width) if save else (0,)
    return torch.empty_like(u), u.new_empty(shape, dtype=torch.float32)


@torch.library.impl("scan2d::wavefront_backward", "CompositeExplicitAutograd")
def _wavefront_backward(dout: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    *inputs, saved, backend = arguments
    gradients = _module(backend).backward(dout, *inputs, saved)
    return tuple(in_form_of(gradient, x, dout) for gradient, x in zip(gradients, inputs, strict=True))


@torch.library.register_fake("scan2d::wavefront_backward")
def _wavefront_backward_fake(dout: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    return tuple(dout.new_empty(0) if x is None else torch.empty_like(x) for x in arguments[:8])


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, backend, save = inputs
    if not save:
        raise RuntimeError("scan2d::wavefront was called with save=False but a gradient is required")
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)  # else `saved`, which has no gradient, gets one of zeros on every backward
    ctx.save_for_backward(*tensors, output[1])
    ctx.backend = backend


def _differentiate(ctx: Any, dout: Tensor | None, _dsaved: None) -> tuple[Tensor | None, ...]:
    if dout is None:
        return (None,) * 10
    *tensors, saved = ctx.saved_tensors
    gradients = torch.ops.scan2d.wavefront_backward(dout, *tensors, saved, ctx.backend)
    wanted = ctx.needs_input_grad[:8]
    of_tensors = [
        gradient if x is not None and want else None
        for gradient, x, want in zip(gradients, tensors, wanted, strict=True)
    ]
    return (*of_tensors, None, None)


torch.library.register_autograd("scan2d::wavefront", _differentiate, setup_context=_setup_context)
