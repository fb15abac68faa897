from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from tests.fabricate import FeatureCohort, feature_cohort
from wsi2dmamba.cli import app
from wsi2dmamba.cohort.columns import guess_columns
from wsi2dmamba.cohort.saved import load_splits
from wsi2dmamba.config import load_config
from wsi2dmamba.core.errors import InputError


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def init(made: FeatureCohort, folder: Path, *more: Any) -> Result:
    return invoke(
        "init", "--csv", made.csv, "--features", made.features, "--out", folder / "run.yaml", "--model", "mean", *more
    )


def test_init_writes_settings_that_load_and_reports_what_is_there(tmp_path: Path) -> None:
    made = feature_cohort(tmp_path, cases=20)
    result = init(made, tmp_path)
    assert result.exit_code == 0, result.output
    config = load_config(tmp_path / "run.yaml")
    assert (config.cohort.slide_column, config.cohort.case_column, config.cohort.label_column) == (
        "slide_id",
        "case_id",
        "label",
    )
    assert config.task.kind == "classification"
    assert "20 patients with 25 slides (5 patients have several): class-0 10, class-1 10" in result.output
    assert "fold 4: train" in result.output
    assert "features: 16 numbers per patch by made-up" in result.output


def test_init_recognises_survival_and_censorship(tmp_path: Path) -> None:
    made = feature_cohort(tmp_path, task="survival", cases=30)
    table = pd.read_csv(made.csv)
    table["censorship"] = 1 - table.pop("event")
    table.rename(columns={"time": "survival_months"}).to_csv(made.csv, index=False)
    result = init(made, tmp_path)
    assert result.exit_code == 0, result.output
    config = load_config(tmp_path / "run.yaml")
    assert (config.task.kind, config.cohort.time_column, config.cohort.censorship_column) == (
        "survival",
        "survival_months",
        "censorship",
    )


@pytest.mark.parametrize("task", ["ordinal", "cox", "regression"])
def test_init_writes_every_task(tmp_path: Path, task: str) -> None:
    made = feature_cohort(tmp_path, task="survival" if task == "cox" else "classification", cases=30)
    table = pd.read_csv(made.csv)
    table["score"] = [float(case[-3:]) for case in table["case_id"]]
    table.to_csv(made.csv, index=False)
    result = init(made, tmp_path, "--task", task, *(["--target", "score"] if task == "regression" else []))
    assert result.exit_code == 0, result.output
    assert load_config(tmp_path / "run.yaml").task.kind == task


def test_init_finds_everything_that_is_wrong_and_still_writes(tmp_path: Path) -> None:
    made = feature_cohort(tmp_path, cases=20)
    (made.features / "case-003-s0.h5").rename(made.features / "case_003-s0.h5")
    table = pd.read_csv(made.csv)
    table["split"] = ["train", "val", "test", "train"] * 6 + ["train"]
    table.to_csv(made.csv, index=False)
    result = init(made, tmp_path)
    assert result.exit_code == 1
    assert "1 slides left out: no features" in result.output
    assert "no features for case-003-s0; is it case_003-s0?" in result.output
    assert "problem: " in result.output and "leakage" in result.output
    assert (tmp_path / "run.yaml").is_file()


def test_init_reports_a_slide_listed_twice(tmp_path: Path) -> None:
    made = feature_cohort(tmp_path, cases=20)
    table = pd.read_csv(made.csv)
    pd.concat([table, table.head(1)]).to_csv(made.csv, index=False)
    result = init(made, tmp_path)
    assert result.exit_code == 1
    assert "lists slide case-000-s0 more than once" in result.output


def test_init_replaces_nothing_and_asks_for_what_it_cannot_guess(tmp_path: Path) -> None:
    made = feature_cohort(tmp_path, cases=20)
    init(made, tmp_path)
    with pytest.raises(InputError, match="exists; use --overwrite"):
        init(made, tmp_path)
    with pytest.raises(InputError, match=r"no column 'lable' \(did you mean 'label'\?\)"):
        init(made, tmp_path, "--overwrite", "--label", "lable")
    pd.read_csv(made.csv).rename(columns={"label": "xyz"}).to_csv(made.csv, index=False)
    with pytest.raises(InputError, match=r"which column of .* is the label\? give --label"):
        init(made, tmp_path, "--overwrite")


def test_names_of_published_tables_are_recognised() -> None:
    dhmc = guess_columns(["File Name", "Class", "Data Split"])
    assert (dhmc.slide, dhmc.label, dhmc.split) == ("File Name", "Class", "Data Split")
    tcga = guess_columns(["case_id", "slide_id", "site", "is_female", "oncotree_code", "survival_months", "censorship"])
    assert (tcga.case, tcga.slide, tcga.time, tcga.censorship) == (
        "case_id",
        "slide_id",
        "survival_months",
        "censorship",
    )
    panda = guess_columns(["image_id", "data_provider", "isup_grade", "gleason_score"])
    assert (panda.slide, panda.label, panda.site) == ("image_id", "isup_grade", "data_provider")


def test_splits_are_saved_and_serve_another_run(tmp_path: Path) -> None:
    made = feature_cohort(tmp_path, cases=20)
    init(made, tmp_path)
    saved = tmp_path / "splits.csv"
    result = invoke("splits", "-c", tmp_path / "run.yaml", "--out", saved, "--set", "splits.folds=4")
    assert result.exit_code == 0 and "fold 3: train" in result.output
    folds = load_splits(saved)
    assert len(folds) == 4
    again = tmp_path / "again.csv"
    invoke(
        "splits",
        "-c",
        tmp_path / "run.yaml",
        "--out",
        again,
        "--set",
        "splits.kind=files",
        "--set",
        f"splits.files={saved}",
    )
    assert load_splits(again) == folds
    with pytest.raises(InputError, match="exists"):
        invoke("splits", "-c", tmp_path / "run.yaml", "--out", saved)


def test_splits_by_site(tmp_path: Path) -> None:
    made = feature_cohort(tmp_path, cases=21)
    init(made, tmp_path, "--site", "site")
    out = tmp_path / "splits.csv"
    assert invoke("splits", "-c", tmp_path / "run.yaml", "--out", out).exit_code == 0
    assert len(load_splits(out)) == 3


def test_models_and_their_options_are_listed() -> None:
    from wsi2dmamba.models.registry import model_names

    listed = invoke("models").output
    assert all(name in listed for name in model_names())
    assert "dropout: " in invoke("models", "2dmamba").output
