"""Where the encoder runs: device, precision and memory layout in one object."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsi2dmamba.core.errors import EncoderError, InputError
from wsi2dmamba.features.encoders import Encoder

log = logging.getLogger(__name__)

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def resolve_devices(names: tuple[str, ...]) -> list[torch.device]:
    """Return the torch devices for what the user typed: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or a bare number.

    Raises
    ------
    InputError
        If a device does not exist on this machine.
    """
    devices = []
    for name in names:
        text = name.strip().lower()
        if text == "auto":
            text = "cuda:0" if torch.cuda.is_available() else "cpu"
        elif text.isdigit():
            text = f"cuda:{text}"
        try:
            device = torch.device(text)
        except RuntimeError as error:
            raise InputError(f"unknown device {name!r}; use auto, cpu, cuda:0, or numbers such as 0,1") from error
        if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
            there = torch.cuda.device_count()
            raise InputError(f"there is no GPU {text} here ({there} found); use --device cpu or another number")
        if device not in devices:
            devices.append(device)
    if not devices:
        raise InputError("no device given; use --device auto")
    return devices


def resolve_precision(precision: str, on_gpu: bool) -> str:
    """Return ``float32``, ``float16`` or ``bfloat16`` for a setting that may be ``auto``.

    On a GPU ``auto`` is float16: frozen encoders stay in its range, and it keeps three more bits than bfloat16.
    """
    if precision != "auto":
        return precision
    return "float16" if on_gpu else "float32"


def stored_dtype(precision: str) -> type[np.floating]:
    """Return the dtype of the features on disk: float32 only when computed in float32."""
    return np.float32 if precision == "float32" else np.float16


class _Compiled:
    """An encoder whose network is compiled, as long as that works."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._forward: Callable[[Tensor], Tensor] | None = torch.compile(encoder.forward)

    def __call__(self, patches: Tensor) -> Tensor:
        if self._forward is None:
            return self._encoder.encode(patches)
        try:
            with torch.no_grad():  # not inference mode: its tensors cannot be traced
                return self._forward(self._encoder.preprocess(patches))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a compiler fails in its own ways; what is wrong with the network shows without it
            reason = " ".join(str(error).split())[:160]
            log.warning(
                "torch.compile does not work for %s here (%s); it runs uncompiled", self._encoder.info.name, reason
            )
            self._forward = None
            return self._encoder.encode(patches)


class DeviceEncoder:
    """An encoder on its device: copies overlap with computing, results stay there until the slide is finished.

    Parameters
    ----------
    encoder
        Loaded encoder; it is moved.
    device, precision
        From `resolve_devices` and `resolve_precision`.
    batch_size
        Patches per forward pass.
    compiled
        Use `torch.compile` on the network; where it fails, say so once and go on without.
    """

    def __init__(
        self, encoder: Encoder, device: torch.device, precision: str, batch_size: int, compiled: bool = False
    ) -> None:
        self.encoder = encoder.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._encode = _Compiled(encoder) if compiled else encoder.encode
        self.device = device
        self._dtype = _DTYPES[precision]
        # Reading processes apply a cheap encoder on one thread each; sums over several threads differ in the last bit.
        self._threads = _one_thread if encoder.cheap and device.type == "cpu" else nullcontext
        self._batch_size = batch_size
        self._staging: list[Tensor] = []
        self._copied: list[torch.cuda.Event] = []
        self._turn = 0

    def encode(self, patches: NDArray[np.uint8]) -> Tensor:
        """Return the (n, dim) features of (n, px, px, 3) patches, on the device, perhaps not computed yet.

        `patches` may be overwritten as soon as this returns.

        Raises
        ------
        EncoderError
            If the device's memory does not suffice.
        """
        parts = []
        try:
            for start in range(0, len(patches), self._batch_size):
                batch = self._on_device(patches[start : start + self._batch_size])
                with (
                    self._threads(),
                    torch.autocast(self.device.type, self._dtype, enabled=self._dtype != torch.float32),
                ):
                    parts.append(self._encode(batch))
        except torch.OutOfMemoryError as error:
            advice = f"give a --batch-size below {self._batch_size}"
            raise EncoderError(f"the memory of {self.device} does not suffice; {advice}") from error
        return torch.cat(parts)

    def _on_device(self, patches: NDArray[np.uint8]) -> Tensor:
        source = torch.from_numpy(patches)
        if self.device.type != "cuda":
            return source
        # Two pinned buffers in turn: while one is being copied to the GPU the other is filled.
        if len(self._staging) < 2 or self._staging[0].shape[1:] != source.shape[1:]:
            torch.cuda.synchronize(self.device)
            shape = (self._batch_size, *source.shape[1:])
            self._staging = [torch.empty(shape, dtype=torch.uint8, pin_memory=True) for _ in range(2)]
            self._copied = [torch.cuda.Event() for _ in range(2)]
        self._turn = 1 - self._turn
        self._copied[self._turn].synchronize()
        buffer = self._staging[self._turn][: len(source)]
        buffer.copy_(source)
        with torch.cuda.device(self.device):
            batch = buffer.to(self.device, non_blocking=True)
            self._copied[self._turn].record()
        return batch


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
