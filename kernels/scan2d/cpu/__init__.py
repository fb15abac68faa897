"""Fused selective scan on the CPU, compiled with Numba."""
