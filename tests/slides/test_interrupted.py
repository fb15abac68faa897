"""Ctrl-C and kill -9 in the middle of both stages: one line, nothing half-written, and a rerun that gives the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fabricate import svs
from tests.processes import environment, interruptible
from wsi2dmamba.slides.locks import holder_of

SLIDES = 6


def command(stage: str, folder: Path, out: Path, workers: int) -> list[str]:
    start = [sys.executable, "-m", "wsi2dmamba", stage, "--out", str(out), "--workers", str(workers)]
    if stage == "tile":
        return [*start, str(folder / "in"), "--patch-px", "64"]
    return [*start, "--tiles", str(folder / "tiled"), "--device", "cpu"]


def files(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*.h5") if path.name[0] != "."}


def end_after(started: subprocess.Popen[str], out: Path, wanted: int, signals: tuple[int, ...]) -> str:
    """Send the signals to the whole group, as a terminal does, once `wanted` files are there; return stderr."""
    deadline = time.monotonic() + 120
    while len(files(out)) < wanted and started.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    for number in signals:
        assert started.poll() is None, "it finished before it could be interrupted"
        os.killpg(started.pid, number)
        time.sleep(0.02)
    return started.communicate(timeout=60)[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with slides, and what both stages make of them when nobody disturbs them."""
    folder = tmp_path_factory.mktemp("interrupted")
    for seed in range(SLIDES):
        svs(folder / "in" / f"s{seed} (a).svs", size=(2048, 1536), seed=seed)
    for stage, out in (("tile", "tiled"), ("extract", "extracted")):
        subprocess.run(command(stage, folder, folder / out, 1), env=environment(), check=True, capture_output=True)
    return folder


ONCE, TWICE, KILLED = (signal.SIGINT,), (signal.SIGINT, signal.SIGINT), (signal.SIGKILL,)


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage, workers, signals",
    [
        ("tile", 1, TWICE),
        ("tile", 2, ONCE),
        ("tile", 2, KILLED),
        ("extract", 0, TWICE),
        ("extract", 2, ONCE),
        ("extract", 2, KILLED),
    ],
)
def test_interrupted_and_run_again(
    folder: Path, tmp_path: Path, stage: str, workers: int, signals: tuple[int, ...]
) -> None:
    expected = files(folder / ("tiled" if stage == "tile" else "extracted"))
    assert len(expected) == SLIDES
    out = tmp_path / "out"
    run = command(stage, folder, out, workers)
    options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    slowly = environment(slow_files=tmp_path / "slow")
    for wanted in (0, 2):  # at any time before the first file is there, and in the middle
        started = subprocess.Popen(run, env=slowly, **interruptible(), **options)
        if wanted == 0:
            time.sleep(1.5)
        said = end_after(started, out, wanted, signals)
        if signal.SIGINT in signals:
            assert started.returncode in (130, -signal.SIGINT)  # the second one may meet the interpreter at its end
            assert said.splitlines()[-1:] == [
                "wsi2dmamba: interrupted; run the same command again to go on where it stopped"
            ], said
            assert "Traceback" not in said
    again = subprocess.run(run, check=False, env=environment(), **options)
    assert again.returncode == 0, again.stderr
    assert sorted(files(out)) == sorted(expected)
    assert [name for name, content in files(out).items() if content != expected[name]] == []
    assert not list(out.rglob("*.partial-*"))
    assert all(holder_of(lock) is None for lock in out.rglob("*.lock"))  # of killed processes: stale
