"""The wavefront scan: a 2D recurrence whose state is carried along every lattice path (Mamba2D, arXiv 2412.16146)."""

from scan2d.wavefront.operator import wavefront_scan_2d

__all__ = ["wavefront_scan_2d"]
