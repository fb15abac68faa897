"""Working memory that is kept between calls.

What the forward saves for the backward, and the partial sums of dB and dC, are up to three times as large as the
gradients. Taken from the system on every call, each page of it costs a fault and is filled with zeros first, which
took up to half of the time of forward and backward. So up to `KEPT_BYTES` of it are kept and used again. Outputs and
gradients are the caller's and never come from here.
"""

from __future__ import annotations

import threading
import weakref

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

KEPT_BYTES = 256 * 2**20
"""At most so much unused memory is kept; the least recently used goes first."""

_lock = threading.RLock()  # re-entrant, because the collector may free a tensor while the lock is held
_unused: list[npt.NDArray[np.float32]] = []  # least recently used first


def working_memory(elements: int, zero: bool = False) -> Tensor:
    """Return float32 memory, filled with zeros if `zero`, that is kept for another call once the tensor is gone."""
    buffer = _take(elements)
    view = buffer[:elements]
    if zero:
        view.fill(0)
    # torch holds `view` as long as any tensor uses it
    weakref.finalize(view, _keep, buffer).atexit = False
    return torch.from_numpy(view)


def release_memory() -> None:
    """Give all memory that is kept for later calls back to the system."""
    with _lock:
        _unused.clear()


def _take(elements: int) -> npt.NDArray[np.float32]:
    """Take the smallest buffer that is large enough and not twice too large, or a new one."""
    with _lock:
        fitting = [k for k, buffer in enumerate(_unused) if elements <= buffer.size <= 2 * elements]
        if fitting:
            return _unused.pop(min(fitting, key=lambda k: _unused[k].size))
    return np.empty(elements, dtype=np.float32)  # NumPy asks Linux for huge pages where torch does not


def _keep(buffer: npt.NDArray[np.float32]) -> None:
    with _lock:
        _unused.append(buffer)
        while sum(kept.nbytes for kept in _unused) > KEPT_BYTES:
            del _unused[0]
