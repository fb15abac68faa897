"""What a run ran on, for the run folder."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

_PACKAGES = (
    "torch",
    "lightning",
    "numpy",
    "numba",
    "triton",
    "h5py",
    "pandas",
    "scikit-learn",
    "lifelines",
    "pydantic",
)


def describe_environment() -> dict[str, Any]:
    """Return versions, machine and devices as JSON values (no time and no host name: runs stay comparable)."""
    import torch

    return {
        "wsi2dmamba": importlib.import_module("wsi2dmamba").__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "devices": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:  # noqa: PTH123 (a kernel file, not a path of ours)
            names = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
