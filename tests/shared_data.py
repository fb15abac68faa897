"""Where independent numbers and real slides lie, when they are there; the project never needs them to run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("WSI2DMAMBA_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def shared_path(relative: str) -> Path:
    """Return a path under the shared folder, or skip the test, saying why."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"shared data not present: {relative} (set WSI2DMAMBA_SHARED)")
    return path
