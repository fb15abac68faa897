"""What software and machine something ran on: for run folders and manifests."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from wsi2dmamba import __version__

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


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Return package → version, of those that are installed."""
    found = {}
    for name in packages:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def describe_environment() -> dict[str, Any]:
    """Return versions, machine and devices as JSON values (no time and no host name: runs stay comparable)."""
    import torch

    return {
        "wsi2dmamba": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "devices": [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        "packages": versions(_PACKAGES),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:  # noqa: PTH123 (a kernel file, not a path of ours)
            names = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
