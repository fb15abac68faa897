"""Benchmarks of the scan: ``python -m scan2d.bench --backend cpu``."""
