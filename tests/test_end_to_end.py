"""The whole pipeline through the real command, small: it ends with a table, goes on after SIGKILL, repeats itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[1]
RUNS = ("phenotype-2dmamba", "phenotype-abmil", "survival-2dmamba", "survival-abmil")
SMALL = ("--patients", "8", "--side", "8", "--folds", "2", "--epochs", "1", "--workers", "1")


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "wsi2dmamba", *arguments]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")]), "OMP_NUM_THREADS": "1"}


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(_command(*arguments), env=_environment(), capture_output=True, text=True, check=False)


def _kill_when(out: Path, reached: Callable[[], bool]) -> None:
    """Start the demo and SIGKILL it, workers and all, as soon as `reached` is true."""
    log = out.with_suffix(".log").open("a")
    process = subprocess.Popen(
        _command("demo", "--out", str(out), *SMALL), env=_environment(), stdout=log, stderr=log, start_new_session=True
    )
    try:
        while not reached():
            assert process.poll() is None, f"the demo ended before it could be killed; see {log.name}"
            time.sleep(0.01)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()


def _results(out: Path) -> dict[str, object]:
    """Return everything that a demo computed, for comparing."""
    results: dict[str, object] = {"comparison": json.loads((out / "comparison.json").read_text())}
    for path in sorted(out.glob("slides/*.svs")):
        results[path.name] = path.read_bytes()
    for path in sorted(out.glob("features/texture/*.h5")):
        with h5py.File(path) as file:
            results[path.name] = tuple(file[name][:].tobytes() for name in ("coords", "grid", "tissue", "features"))
    for name in RUNS:
        results[name] = (out / "runs" / name / "predictions.csv").read_bytes()
        for path in sorted((out / "runs" / name).glob("fold-*/model.safetensors")):
            results[f"{name}/{path.parent.name}"] = path.read_bytes()
    return results


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("demo") / "run"
    ended = _run("demo", "--out", str(out), *SMALL)
    assert ended.returncode == 0, ended.stderr
    return out, ended.stdout


@pytest.mark.slow
def test_the_demo_ends_with_the_table_the_reports_and_the_times(finished: tuple[Path, str]) -> None:
    out, printed = finished
    for text in ("2DMamba", "ABMIL", "immune phenotype", "AUC", "C-index", "the four stages together"):
        assert text in printed
    for name in RUNS:
        report = out / "runs" / name / "eval" / "report.html"
        assert str(report) in printed and "<html" in report.read_text(encoding="utf-8").lower()
        predictions = pd.read_csv(out / "runs" / name / "predictions.csv")
        tested = predictions[predictions["split"] == "test"]
        assert tested["case_id"].is_unique and len(tested) == 8
    cohort = pd.read_csv(out / "cohort.csv")
    assert {path.stem for path in (out / "features" / "texture").glob("*.h5")} == set(cohort["slide_id"])


@pytest.mark.slow
def test_tiles_lie_on_the_cells_that_were_laid(finished: tuple[Path, str]) -> None:
    """No patch mixes two kinds: every one is a cell of the layout, and nearly all cells are found."""
    out, _ = finished
    laid = pd.read_csv(out / "layout.csv")
    found = 0
    for slide_id, cells in laid.groupby("slide_id"):
        with h5py.File(out / "tiles" / f"{slide_id}.h5") as file:
            coords = file["coords"][:]
        assert (coords % 224 == 0).all()
        tiles = set(map(tuple, (coords[:, ::-1] // 224).tolist()))
        planned = set(zip(cells["row"], cells["col"], strict=True))
        assert tiles <= planned
        core = cells[cells["kind"].isin(["tumour", "infiltrate"])]
        assert set(zip(core["row"], core["col"], strict=True)) <= tiles
        found += len(tiles)
    assert found > 0.9 * len(laid)


@pytest.mark.slow
def test_killed_in_every_stage_it_ends_as_if_undisturbed(finished: tuple[Path, str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    stages: list[tuple[str, int]] = [
        ("slides/*.svs", 3),
        ("tiles/*.h5", 2),
        ("features/texture/*.h5", 2),
        ("runs/*/fold-*/predictions.csv", 1),
        ("runs/*/eval/*", 1),
    ]
    for pattern, count in stages:
        _kill_when(out, lambda pattern=pattern, count=count: len(list(out.glob(pattern))) >= count)  # type: ignore[misc]
    ended = _run("demo", "--out", str(out), *SMALL)
    assert ended.returncode == 0, ended.stderr
    undisturbed, resumed = _results(finished[0]), _results(out)
    assert undisturbed.keys() == resumed.keys()
    assert not [name for name in resumed if resumed[name] != undisturbed[name]]
    assert not list(out.rglob("*.partial-*"))


@pytest.mark.slow
def test_the_commands_do_what_the_demo_does(finished: tuple[Path, str], tmp_path: Path) -> None:
    out, _ = finished
    slide = str(next((out / "slides").glob("*.svs")))
    ended = _run("tile", slide, "--out", str(tmp_path), "--mpp", "0.5", "--patch-px", "224", "--workers", "1")
    assert ended.returncode == 0, ended.stderr
    ended = _run("extract", "--tiles", str(tmp_path), "--out", str(tmp_path / "features"), "--workers", "0")
    assert ended.returncode == 0, ended.stderr
    name = f"{Path(slide).stem}.h5"
    with (
        h5py.File(tmp_path / "features" / "texture" / name) as own,
        h5py.File(out / "features" / "texture" / name) as demo,
    ):
        assert np.array_equal(own["grid"][:], demo["grid"][:])
        assert np.array_equal(own["features"][:], demo["features"][:])


@pytest.mark.slow
def test_a_folder_of_other_settings_is_refused_and_kept(finished: tuple[Path, str]) -> None:
    out, _ = finished
    before = _results(out)
    ended = _run("demo", "--out", str(out), *SMALL, "--seed", "1")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1 and "seed 0, not 1" in ended.stderr
    assert _results(out) == before


def test_help_answers_at_once_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, typer.testing; from wsi2dmamba.cli import app; "
        "result = typer.testing.CliRunner().invoke(app, ['--help']); assert result.exit_code == 0, result.output; "
        "heavy = {'torch', 'lightning', 'matplotlib', 'cv2', 'openslide', 'pandas', 'numpy', 'numba', 'h5py'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env=_environment(), capture_output=True, text=True, check=False
    )
    assert ended.stdout.strip() == "[]", ended.stdout + ended.stderr
