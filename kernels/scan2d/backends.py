"""The backends by name: what each one needs, whether it can run, and which one `auto` takes.

A backend is a module with three functions. Tensors arrive as the user gave them (any strides, any
mixture of the dtypes the backend lists); `B` and `C` are always `(batch, groups, N, H, W)`;
optional tensors may be `None`; `lengths` is `(batch, 2)` int64 and `mask` `(batch, H, W)` bool, on the device
of `u`; at least one of the two is `None`::

    saved_shape(batch, dim, groups, states, height, width) -> tuple[int, ...]
    forward(u, delta, A, B, C, D, z, delta_bias, delta_softplus, start, lengths, mask, save) -> (out, saved)
    backward(dout, u, delta, A, B, C, D, z, delta_bias, saved, delta_softplus, start, lengths, mask)
        -> (du, ddelta, dA, dB, dC, dD | None, dz | None, ddelta_bias | None)

`saved` is a float32 tensor of the boundary states that the backward recomputes from: of
`saved_shape` if `save` is true, of shape `(0,)` otherwise. `saved_shape` must work on symbolic sizes,
because the fake kernel calls it. Outputs and gradients that already have the strides of
`torch.empty_like(their input)` and its dtype are passed on; others are copied into that form.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

from scan2d.errors import BackendUnavailableError, InvalidArgumentError

logger = logging.getLogger("scan2d")

_SINGLE_AND_HALF = (torch.float32, torch.float16, torch.bfloat16)

Gradients = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor | None, Tensor | None]


class BackendModule(Protocol):
    """The three functions of a backend; see the head of this file."""

    def saved_shape(self, batch: int, dim: int, groups: int, states: int, height: int, width: int) -> tuple[int, ...]:
        """Return the shape of the boundary states that `forward` saves."""

    def forward(
        self,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None,
        z: Tensor | None,
        delta_bias: Tensor | None,
        delta_softplus: bool,
        start: str,
        lengths: Tensor | None,
        mask: Tensor | None,
        save: bool,
    ) -> tuple[Tensor, Tensor]:
        """Return the output and the saved boundary states."""

    def backward(
        self,
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
        delta_softplus: bool,
        start: str,
        lengths: Tensor | None,
        mask: Tensor | None,
    ) -> Gradients:
        """Return the gradient of every tensor input, `None` for those that are absent."""


@dataclass(frozen=True)
class Backend:
    """One entry of the registry.

    Parameters
    ----------
    name : str
        What the user writes in `backend=`.
    module : str
        The module that holds the three functions; imported at first use.
    dtypes : tuple of torch.dtype
        Element types it accepts.
    why_not : callable
        Returns why it cannot run on a device type ("cpu", "cuda", …), or None if it can.
    """

    name: str
    module: str
    dtypes: tuple[torch.dtype, ...]
    why_not: Callable[[str], str | None]

    def load(self) -> BackendModule:
        """Import the backend's module."""
        return cast(BackendModule, importlib.import_module(self.module))


def _reference_why_not(device_type: str) -> str | None:
    return None


def _cpu_why_not(device_type: str) -> str | None:
    if device_type != "cpu":
        return f"it computes on the CPU and the tensors are on '{device_type}'; move them with .cpu()"
    if importlib.util.find_spec("numba") is None:
        return "numba is not installed; run: pip install 'numba>=0.60'"
    return None


def _triton_why_not(device_type: str) -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed; on Linux with an NVIDIA or AMD GPU run: pip install 'triton>=3.2'"
    if importlib.util.find_spec("scan2d.triton_backend") is None:
        return "this version of scan2d does not contain its GPU kernels yet; use backend='cpu' or 'reference'"
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if interpreted:
        return None
    if not torch.cuda.is_available():
        return (
            "no NVIDIA or AMD GPU is visible to torch; install a GPU build of torch on a machine with a GPU, "
            "or set TRITON_INTERPRET=1 to interpret the kernels slowly on the CPU"
        )
    if device_type != "cuda":
        return f"it computes on the GPU and the tensors are on '{device_type}'; move them with .cuda()"
    return None


_REGISTRY = {
    backend.name: backend
    for backend in (
        Backend("reference", "scan2d.reference", (*_SINGLE_AND_HALF, torch.float64), _reference_why_not),
        Backend("cpu", "scan2d.cpu", _SINGLE_AND_HALF, _cpu_why_not),
        Backend("triton", "scan2d.triton_backend", _SINGLE_AND_HALF, _triton_why_not),
    )
}
BACKEND_NAMES = ("auto", *_REGISTRY)
_FASTEST_BY_DEVICE = {"cpu": "cpu", "cuda": "triton"}


def available_backends(device: str | torch.device = "cpu") -> dict[str, str | None]:
    """Say of every backend whether it can run on a device.

    Parameters
    ----------
    device : str or torch.device
        Where the tensors would be.

    Returns
    -------
    dict
        Backend name to None if it can run, else to what is missing.
    """
    device_type = torch.device(device).type
    return {name: backend.why_not(device_type) for name, backend in _REGISTRY.items()}


def load_backend(name: str, device_type: str, dtypes: tuple[torch.dtype, ...]) -> BackendModule:
    """Return the module of the backend that `choose_backend` names; parameters and errors as there."""
    return _load_named(choose_backend(name, device_type, dtypes))


def choose_backend(name: str, device_type: str, dtypes: tuple[torch.dtype, ...]) -> str:
    """Return the name of the backend that computes for this name, device and element types.

    `auto` takes `cpu` for CPU tensors and `triton` for GPU tensors, and `reference` for float64 or
    where those two cannot run; the choice is logged once (as a warning when a faster one is missing).

    Parameters
    ----------
    name : str
        One of `BACKEND_NAMES`.
    device_type : str
        `tensor.device.type` of the inputs.
    dtypes : tuple of torch.dtype
        Element types of all floating inputs.

    Returns
    -------
    str

    Raises
    ------
    InvalidArgumentError
        Unknown name, or an element type that the backend does not compute with.
    BackendUnavailableError
        The backend asked for by name cannot run here.
    """
    if name == "auto":
        name = _choose(device_type, torch.float64 in dtypes)
    _check_named(name, device_type, dtypes)
    return name


@functools.lru_cache(maxsize=8)
def _load_named(name: str) -> BackendModule:
    return _REGISTRY[name].load()


@functools.lru_cache(maxsize=256)
def _check_named(name: str, device_type: str, dtypes: tuple[torch.dtype, ...]) -> None:
    if name not in _REGISTRY:
        raise InvalidArgumentError(f"unknown backend '{name}'; choose one of {', '.join(BACKEND_NAMES)}")
    backend = _REGISTRY[name]
    reason = backend.why_not(device_type)
    if reason is not None:
        raise BackendUnavailableError(f"backend '{name}' cannot run here: {reason}")
    for dtype in dtypes:
        if dtype not in backend.dtypes:
            fits = ", ".join(str(d).removeprefix("torch.") for d in backend.dtypes)
            raise InvalidArgumentError(
                f"backend '{name}' takes {fits}, not {str(dtype).removeprefix('torch.')}; "
                "float64 needs backend='reference'"
            )


@functools.lru_cache(maxsize=64)
def _choose(device_type: str, has_float64: bool) -> str:
    fastest = _FASTEST_BY_DEVICE.get(device_type, "reference")
    if has_float64:
        logger.info("scan on '%s' in float64: backend 'reference'", device_type)
        return "reference"
    reason = _REGISTRY[fastest].why_not(device_type)
    if reason is None:
        logger.info("scan on '%s': backend '%s'", device_type, fastest)
        return fastest
    logger.warning(
        "scan on '%s': backend 'reference', which is slow, because '%s' cannot run: %s",
        device_type,
        fastest,
        reason,
    )
    return "reference"
