"""What a run was made with: versions, parameters, machine, outcome."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from wsi2dmamba import __version__
from wsi2dmamba.core.files import write_json

_PACKAGES = ("openslide-python", "openslide-bin", "tifffile", "imagecodecs", "opencv-python-headless", "numpy", "h5py")


def write_manifest(path: Path, parameters: dict[str, Any], started: datetime, outcome: dict[str, int]) -> None:
    """Write the manifest of a run that ends now."""
    write_json(
        path,
        {
            "created_by": f"wsi2dmamba {__version__}",
            "command": "tile",
            "started": started.isoformat(timespec="seconds"),
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "machine": {"python": platform.python_version(), "system": platform.platform(), "host": platform.node()},
            "versions": {name: _version(name) for name in _PACKAGES},
            "parameters": parameters,
            "outcome": outcome,
        },
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
