"""`manifest.json`: what made the files of a folder, with which versions and parameters."""

from __future__ import annotations

import platform
import socket
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from wsi2dmamba import __version__
from wsi2dmamba.core.environment import versions
from wsi2dmamba.core.files import write_json

PACKAGES = (
    *("torch", "numpy", "h5py", "opencv-python-headless"),
    *("openslide-python", "openslide-bin", "imagecodecs", "tifffile", "timm", "transformers"),
)


def write_manifest(path: Path, command: str, parameters: dict[str, Any], result: dict[str, Any]) -> None:
    """Write the manifest of a run, whole or not at all.

    Parameters
    ----------
    path
        Where to, e.g. ``features/texture/manifest.json``. A later run over the same folder replaces it.
    command
        The stage, e.g. ``extract``.
    parameters
        Its settings; values that JSON does not know are written as text.
    result
        What came out: counts by status, identity of the weights.
    """
    manifest = {
        "command": command,
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "wsi2dmamba": __version__,
        "packages": versions(PACKAGES),
        "parameters": {key: _plain(value) for key, value in parameters.items()},
        "result": result,
    }
    write_json(path, manifest)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
