"""Fused selective scan on the CPU, compiled with Numba: what `scan2d.backends` asks of a backend."""

from scan2d.cpu.launch import backward, forward
from scan2d.cpu.memory import release_memory
from scan2d.cpu.tiling import saved_shape

__all__ = ["backward", "forward", "release_memory", "saved_shape"]
