"""The scan on NVIDIA and AMD GPUs, in Triton; see docs/operator.md for the tiling and its costs."""

from __future__ import annotations

from scan2d.triton_backend.backward import backward
from scan2d.triton_backend.forward import forward
from scan2d.triton_backend.workspace import saved_shape

__all__ = ["backward", "forward", "saved_shape"]
