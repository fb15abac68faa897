"""The device that tensors are on."""

from __future__ import annotations

import functools
from typing import Any

import torch

from scan2d.triton_backend.table import Device


def compile_options(lanes: int, warp_size: int, nvidia: bool) -> dict[str, int]:
    """Return how to compile a kernel whose programs have that many lanes.

    With a limit on registers, though no limit at all, NVIDIA's assembler no longer spills a few to fit more programs.
    """
    limit = {"maxnreg": 255} if nvidia else {}
    return {"num_warps": max(1, lanes // warp_size), "num_stages": 1, **limit}


def on_device(device: torch.device) -> Any:
    """Make a device current: Triton launches on the current device, and tensors may be on another."""
    return torch.cuda.device(device) if device.type == "cuda" else torch.device(device)


@functools.lru_cache(maxsize=16)
def device_of(device: torch.device) -> Device:
    """Return what the launch choices need to know of a device; some small device if it is not a GPU."""
    if device.type != "cuda":
        return Device(multiprocessors=2, warp_size=32)
    properties = torch.cuda.get_device_properties(device)
    return Device(properties.multi_processor_count, getattr(properties, "warp_size", 32))
