"""`gpu_check.sh` where there is no GPU: it says so, and can tell whether its steps would start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

ROOT = Path(__file__).parents[3]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "TRITON_INT"))}
    command = ["bash", "kernels/scan2d/gpu_check.sh", *arguments]
    environment["PYTHON"] = sys.executable
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=200)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_is_one_line_and_nothing_is_written(tmp_path: Path) -> None:
    done = run(str(tmp_path / "results"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: no GPU")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_every_step_would_start_on_a_machine_without_the_slide_stack() -> None:
    done = run("--dry-run")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count(": starts") == 3
