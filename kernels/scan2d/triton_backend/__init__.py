"""The scan on NVIDIA and AMD GPUs, in Triton; see docs/operator.md for the tiling and its costs."""

from __future__ import annotations

from scan2d.triton_backend.launch import backward, forward, saved_shape

__all__ = ["backward", "forward", "saved_shape"]
