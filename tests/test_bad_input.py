"""What users get wrong: one clear line each, the right exit code, and what was good is kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tests import fabricate
from wsi2dmamba.cli import main

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command as the shell does; returns the exit code and what it said on stderr."""

    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["wsi2dmamba", *map(str, arguments)])
        capsys.readouterr()
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0), capsys.readouterr().err
        return 0, capsys.readouterr().err

    return call


def _complaints(stderr: str) -> list[str]:
    assert "Traceback" not in stderr
    return [line for line in stderr.splitlines() if line.startswith("wsi2dmamba: ")]


def _config(folder: Path, made: fabricate.FeatureCohort, **changes: Any) -> Path:
    settings: dict[str, Any] = {
        "name": "bad",
        "output": str(folder / "runs"),
        "cohort": {"csv": str(made.csv), "label_column": "label"},
        "features": {"dir": str(made.features)},
        "splits": {"folds": 2, "validation_fraction": 0.2},
        "model": {"name": "mean", "dim": 8},
        "train": {"epochs": 1, "accelerator": "cpu", "workers": 1},
        "eval": {"resamples": 20},
    }
    settings.update(changes)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


SURVIVAL = {"task": {"kind": "survival"}}


# --- slides ---


def test_a_path_that_does_not_exist(run: Run, tmp_path: Path) -> None:
    code, said = run("tile", tmp_path / "nowhere.svs", "--out", tmp_path / "out")
    assert code == 2 and len(_complaints(said)) == 1 and "nowhere.svs" in said


def test_a_folder_without_slides(run: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, said = run("tile", tmp_path / "empty", "--out", tmp_path / "out")
    assert code == 2 and len(_complaints(said)) == 1 and "empty" in said


def test_bad_slides_among_good_ones(run: Run, tmp_path: Path) -> None:
    slides = tmp_path / "slides"
    slides.mkdir()
    fabricate.svs(slides / "good.svs")
    fabricate.svs(slides / "nompp.svs", mpp=None)
    fabricate.truncate(fabricate.svs(slides / "short.svs"), 0.3)
    (slides / "text.svs").write_text("no slide")
    code, said = run("tile", slides, "--out", tmp_path / "out", "--workers", "1")
    complaints = {line.split(": ")[1]: line for line in _complaints(said)}
    assert code == 1 and sorted(complaints) == ["nompp", "short", "text"], said
    assert "--slide-mpp" in complaints["nompp"]
    assert [path.stem for path in (tmp_path / "out" / "tiles").glob("*.h5")] == ["good"]
    table = pd.read_csv(tmp_path / "out" / "tiles.csv").set_index("slide")
    assert table.loc["good", "status"] == "done" and (table["status"] == "failed").sum() == 3
    code, said = run("extract", "--tiles", tmp_path / "out", "--out", tmp_path / "features", "--workers", "0")
    assert code == 0 and [path.stem for path in (tmp_path / "features" / "texture").glob("*.h5")] == ["good"]


def test_a_slide_that_cannot_be_decoded_in_the_middle_keeps_its_good_patches(run: Run, tmp_path: Path) -> None:
    fabricate.corrupt_jpeg_tile(fabricate.svs(tmp_path / "slides" / "hurt.svs"))
    assert run("tile", tmp_path / "slides", "--out", tmp_path / "out", "--workers", "1")[0] == 0
    code, said = run("extract", "--tiles", tmp_path / "out", "--out", tmp_path / "features", "--workers", "0")
    row = pd.read_csv(tmp_path / "features" / "texture" / "features.csv").loc[0]
    assert row["patches"] > 0 and row["unreadable"] > 0
    assert code == 0 and _complaints(said) == [f"wsi2dmamba: hurt: {row['unreadable']} unreadable patches left out"]


# --- cohort, features, config ---


def test_a_feature_file_cut_short(run: Run, tmp_path: Path) -> None:
    cohort = fabricate.feature_cohort(tmp_path, cases=8)
    victim = sorted(cohort.features.glob("*.h5"))[0]
    fabricate.truncate(victim, 0.5)
    code, said = run("train", "--config", _config(tmp_path, cohort))
    assert code == 2 and len(_complaints(said)) == 1 and victim.name in said
    assert not list(tmp_path.glob("runs/*/fold-*"))


def test_a_missing_column(run: Run, tmp_path: Path) -> None:
    cohort = fabricate.feature_cohort(tmp_path, cases=8)
    config = _config(tmp_path, cohort, cohort={"csv": str(cohort.csv), "label_column": "lable"})
    code, said = run("train", "--config", config)
    assert code == 2 and len(_complaints(said)) == 1 and "lable" in said and "'label'" in said


def test_slides_without_labels_and_labels_without_slides(run: Run, tmp_path: Path) -> None:
    cohort = fabricate.feature_cohort(tmp_path, cases=12, two_slides_every=100)
    table = cohort.table.drop(index=[1]).reset_index(drop=True)
    table.loc[len(table)] = {"slide_id": "ghost", "case_id": "ghost", "site": "x", "label": "class-0"}
    table.loc[3, "label"] = None
    table.to_csv(cohort.csv, index=False)
    code, said = run("train", "--config", _config(tmp_path, cohort))
    assert code == 0, said
    assert "ghost" in said and "no row in the table" in said
    predicted = pd.read_csv(tmp_path / "runs" / "bad" / "predictions.csv")
    assert "ghost" not in set(predicted["case_id"])
    assert table.loc[3, "case_id"] not in set(predicted["case_id"])


def test_one_class_only(run: Run, tmp_path: Path) -> None:
    cohort = fabricate.feature_cohort(tmp_path, cases=8)
    cohort.table.assign(label="class-0").to_csv(cohort.csv, index=False)
    code, said = run("train", "--config", _config(tmp_path, cohort))
    assert code == 2 and len(_complaints(said)) == 1 and "class" in said


def test_every_case_censored(run: Run, tmp_path: Path) -> None:
    cohort = fabricate.feature_cohort(tmp_path, task="survival", cases=8)
    cohort.table.assign(event=0).to_csv(cohort.csv, index=False)
    columns = {"csv": str(cohort.csv), "time_column": "time", "event_column": "event"}
    code, said = run("train", "--config", _config(tmp_path, cohort, cohort=columns, **SURVIVAL))
    assert code == 2 and len(_complaints(said)) == 1 and "censored" in said


def test_a_misspelt_key(run: Run, tmp_path: Path) -> None:
    cohort = fabricate.feature_cohort(tmp_path, cases=8)
    code, said = run("train", "--config", _config(tmp_path, cohort, train={"epoch": 3}))
    assert code == 2 and len(_complaints(said)) == 1 and "did you mean 'epochs'" in said
    code, said = run("train", "--config", _config(tmp_path, cohort, model={"name": "2dmamba", "dimm": 8}))
    assert code == 2 and len(_complaints(said)) == 1 and "dimm" in said


# --- demo ---


def test_the_demo_refuses_what_it_cannot_use_and_writes_nothing(run: Run, tmp_path: Path) -> None:
    for arguments, word in (
        (["--tiles", tmp_path / "nowhere"], "not a folder"),
        (["--patients", 9], "even"),
    ):
        code, said = run("demo", "--out", tmp_path / "out", *arguments)
        assert code == 2 and len(_complaints(said)) == 1 and word in said
        assert not list(tmp_path.glob("out/*"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    code, said = run("demo", "--out", tmp_path / "full")
    assert code == 2 and "other files" in said and (tmp_path / "full" / "thesis.txt").read_text() == "mine"
