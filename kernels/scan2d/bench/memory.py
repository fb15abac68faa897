"""Peak memory of a call, beyond what was there before it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch


def peak_growth_bytes(call: Callable[[], Any], device: str) -> int | None:
    """Run a call and return by how much memory grew at its peak; None where that cannot be measured.

    On the GPU torch counts its own allocations. On the CPU Linux tells the peak resident set, which it can
    reset; it moves in pages and arenas, so read it for large sizes only.
    """
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        result = call()
        torch.cuda.synchronize()
        del result
        return torch.cuda.max_memory_allocated() - before
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = _status_kib("VmRSS")
        result = call()
        growth = _status_kib("VmHWM") - before
    except OSError:
        return None
    del result
    return growth * 1024


def _status_kib(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")
