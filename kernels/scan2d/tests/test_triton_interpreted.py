"""Runs `interpreted_triton.py` with Triton's interpreter switched on, which must happen before Triton is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")


# Thirds, so that test workers can share them; the last takes what the others leave.
PARTS = ["output or tiles", "ragged or mask"]
PARTS.append(f"not ({' or '.join(PARTS)})")


@pytest.mark.parametrize("part", PARTS)
def test_kernels_agree_with_the_definition(part: str) -> None:
    root = Path(__file__).parents[3]
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(root), str(root / "kernels")])
    for name in [n for n in environment if n.startswith("PYTEST_")]:
        del environment[name]
    cases = str(Path(__file__).with_name("interpreted_triton.py"))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", part, cases]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
