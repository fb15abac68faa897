"""What a benchmark ran on: a figure without its machine is no figure."""

from __future__ import annotations

import platform
from datetime import date
from pathlib import Path

from wsi2dmamba.core.environment import versions
from wsi2dmamba.core.workers import default_workers

_PACKAGES = ("torch", "numba", "triton", "openslide-python", "imagecodecs", "h5py")


def describe_machine() -> str:
    """Return one paragraph: date, processor, cores in use, memory, Python and the packages that matter."""
    import psutil

    memory_gib = psutil.virtual_memory().total / 2**30
    found = versions(_PACKAGES)
    packages = ", ".join(f"{name} {found.get(name, 'absent')}" for name in _PACKAGES)
    return (
        f"{date.today().isoformat()} · {_processor()} · {default_workers()} cores · {memory_gib:.0f} GiB · "
        f"Python {platform.python_version()} · {packages}"
    )


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
