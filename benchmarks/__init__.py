"""Measurements behind every speed and memory claim; `python -m benchmarks` runs them all."""
