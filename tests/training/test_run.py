from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from tests.training.runs import quick_run
from wsi2dmamba.cohort.saved import load_splits
from wsi2dmamba.config import load_config
from wsi2dmamba.core.errors import CohortError, ConfigError, StoreError, WSI2DMambaError
from wsi2dmamba.models.registry import parse_options
from wsi2dmamba.training.checkpoint import load_model, trained_folders
from wsi2dmamba.training.data import BagStore
from wsi2dmamba.training.inference import predict_cases
from wsi2dmamba.training.run import prepare_run, train_run, train_runs


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    config = quick_run(
        tmp_path_factory.mktemp("run"), cases=24, train={"epochs": 8, "several_slides": "join", "seeds": [0, 5]}
    )
    return config, train_run(config, workers=1)


def test_the_run_folder_holds_what_the_contract_says(finished: tuple[Any, Path]) -> None:
    _, folder = finished
    names = {path.name for path in folder.iterdir()}
    assert {"config.yaml", "environment.json", "splits.csv", "predictions.csv", "cohort.json"} <= names
    assert {"fold-0-seed-0", "fold-0-seed-5", "fold-1-seed-0", "fold-1-seed-5"} <= names
    assert sorted(path.name for path in (folder / "fold-1-seed-5").iterdir()) == [
        "history.csv",
        "model.json",
        "model.safetensors",
        "predictions.csv",
    ]
    history = pd.read_csv(folder / "fold-0-seed-0" / "history.csv")
    assert list(history.columns) == ["epoch", "train_loss", "validation_loss", "learning_rate"]
    assert list(history["epoch"]) == list(range(1, 9))
    best = json.loads((folder / "fold-0-seed-0" / "model.json").read_text())["best_epoch"]
    assert history["validation_loss"].idxmin() + 1 == best


def test_predictions_are_those_of_the_folds_and_the_signal_is_found(finished: tuple[Any, Path]) -> None:
    _, folder = finished
    table = pd.read_csv(folder / "predictions.csv")
    assert list(table.columns) == ["case_id", "fold", "seed", "split", "label", "prob_class-0", "prob_class-1"]
    assert table["case_id"].nunique() == 24
    for (fold, _), rows in table.groupby(["fold", "seed"]):
        assert len(rows) == 24
        parts = {
            part: tuple(sorted(rows["case_id"][rows["split"] == part])) for part in ("train", "validation", "test")
        }
        made = load_splits(folder / "splits.csv")[int(fold)]
        assert parts == dict(made.parts())
    tested = table[table["split"] == "test"]
    assert roc_auc_score(tested["label"] == "class-1", tested["prob_class-1"]) > 0.95


def test_a_trained_model_predicts_again_what_it_predicted(finished: tuple[Any, Path]) -> None:
    config, folder = finished
    prepared = prepare_run(config, say=lambda line: None)
    store = BagStore(prepared.matched.paths, config.features)
    for fold in trained_folders(folder):
        trained = load_model(fold)
        table = pd.read_csv(fold / "predictions.csv").set_index("case_id")
        columns = predict_cases(trained.model, trained.task, prepared.matched.cohort.cases, store)
        ids = [case.case_id for case in prepared.matched.cohort.cases]
        np.testing.assert_allclose(columns["prob_class-1"], table.loc[ids, "prob_class-1"], atol=1e-12)


def test_a_trained_model_keeps_the_options_that_were_left_to_their_defaults(finished: tuple[Any, Path]) -> None:
    config, folder = finished
    options = load_model(trained_folders(folder)[0]).model_options
    assert config.model.options.items() < options.items()
    assert set(options) == set(parse_options(config.model.name, {}).model_dump())


def test_a_finished_run_is_left_alone_and_other_settings_are_refused(finished: tuple[Any, Path]) -> None:
    config, folder = finished
    before = {path: path.stat().st_mtime_ns for path in folder.glob("fold-*/*")}
    lines: list[str] = []
    train_run(load_config(folder / "config.yaml"), workers=2, say=lines.append)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("fold-*/*")} == before
    other = config.model_copy(update={"train": config.train.model_copy(update={"lr": 0.5})})
    with pytest.raises(ConfigError, match=r"other settings \(train.lr\); use --overwrite"):
        train_run(other, workers=1)


def test_changed_inputs_are_noticed_and_overwrite_starts_anew(tmp_path: Path) -> None:
    config = quick_run(tmp_path, cases=8, train={"epochs": 1})
    train_run(config, workers=1)
    table = pd.read_csv(config.cohort.csv)
    table["label"] = table["label"].map({"class-0": "class-1", "class-1": "class-0"})
    table.to_csv(config.cohort.csv, index=False)
    with pytest.raises(ConfigError, match="another cohort table"):
        train_run(config, workers=1)
    folder = train_run(config, workers=1, overwrite=True)
    predictions = pd.read_csv(folder / "predictions.csv").drop_duplicates("case_id").set_index("case_id")
    assert predictions.loc["case-000", "label"] == "class-1"


def test_worker_processes_train_what_one_process_trains(tmp_path: Path) -> None:
    one = quick_run(tmp_path, name="one", cases=8, train={"epochs": 1})
    two = one.model_copy(update={"name": "two"})
    train_run(two, workers=2)
    # Threads follow from the number of workers; one training at a time with one thread is the same arithmetic.
    from unittest.mock import patch

    with patch("wsi2dmamba.training.run.default_workers", return_value=1):
        train_run(one, workers=1)
    assert (one.folder / "predictions.csv").read_text() == (two.folder / "predictions.csv").read_text()


def test_a_dask_cluster_trains_what_one_process_trains(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    (tmp_path / "cluster.yaml").write_text("cluster: local\njobs: 1\n")
    here = quick_run(tmp_path, name="here", cases=8, train={"epochs": 1})
    there = here.model_copy(update={"name": "there"})
    train_run(there, dask=str(tmp_path / "cluster.yaml"))
    train_run(here, workers=1)
    one, two = (pd.read_csv(run.folder / "predictions.csv") for run in (here, there))
    pd.testing.assert_frame_equal(one, two, rtol=1e-5)


@pytest.mark.parametrize("kind", ["survival", "cox", "ordinal"])
def test_other_tasks_leave_the_columns_of_the_contract(tmp_path: Path, kind: str) -> None:
    config = quick_run(tmp_path, task=kind, cases=24, train={"epochs": 2, "batch_size": 8})
    table = pd.read_csv(train_run(config, workers=1) / "predictions.csv")
    if kind == "ordinal":
        assert list(table.columns[4:]) == ["label", "prob_class-0", "prob_class-1"]
        return
    assert list(table.columns[4:7]) == ["time", "event", "risk"]
    curves = [column for column in table.columns if column.startswith("survival_")]
    assert len(curves) == 3 and table[curves].notna().all().all()
    assert set(table["event"]) == {0, 1}


def test_early_stopping_keeps_the_best_epoch(tmp_path: Path) -> None:
    config = quick_run(tmp_path, cases=12, train={"epochs": 200, "patience": 2, "lr": 0.3})
    folder = train_run(config, workers=1)
    history = pd.read_csv(folder / "fold-0" / "history.csv")
    assert len(history) < 200
    assert history["validation_loss"].idxmin() == len(history) - 3


def test_what_does_not_match_is_reported_and_the_rest_is_trained(tmp_path: Path) -> None:
    config = quick_run(tmp_path, cases=12, train={"epochs": 1})
    gone = sorted(config.features.dir.glob("case-003*.h5"))[0]
    gone.rename(gone.with_name("case-003-S0x.h5"))
    lines: list[str] = []
    folder = train_run(config, workers=1, say=lines.append)
    text = "\n".join(lines)
    assert "1 slides left out: no features in features (case-003-s0)" in text
    assert "no features for case-003-s0; did you mean case-003-S0x?" in text
    assert "1 feature files have no row in the table" in text
    assert pd.read_csv(folder / "predictions.csv")["case_id"].nunique() == 11
    assert json.loads((folder / "cohort.json").read_text())["exclusions"][0]["ids"] == ["case-003-s0"]


def test_nothing_is_written_when_the_input_is_bad(tmp_path: Path) -> None:
    config = quick_run(tmp_path, cases=8)
    cut = next(config.features.dir.glob("*.h5"))
    cut.write_bytes(cut.read_bytes()[:900])
    with pytest.raises(StoreError, match="not a whole HDF5 file"):
        train_run(config)
    assert not config.folder.exists()
    with pytest.raises(CohortError, match="cannot make 60 folds"):
        train_run(quick_run(tmp_path / "other", cases=8, splits={"folds": 60}))


def test_a_loss_that_explodes_says_so(tmp_path: Path) -> None:
    with pytest.raises(WSI2DMambaError, match=r"the loss became .* lower train.lr"):
        train_run(quick_run(tmp_path, cases=8, train={"lr": 1e30, "epochs": 3}), workers=1)


def test_several_runs_share_their_workers(tmp_path: Path) -> None:
    first = quick_run(tmp_path, name="first", cases=8, train={"epochs": 1})
    second = first.model_copy(update={"name": "second", "model": first.model.model_copy(update={"name": "abmil"})})
    folders = train_runs([first, second], workers=1)
    assert [folder.name for folder in folders] == ["first", "second"]
    assert all((folder / "predictions.csv").is_file() for folder in folders)


def test_the_command(tmp_path: Path) -> None:
    from wsi2dmamba.cli import app
    from wsi2dmamba.config import save_config

    save_config(tmp_path / "run.yaml", quick_run(tmp_path, cases=8))
    command = ["train", "--config", str(tmp_path / "run.yaml"), "--set", "train.epochs=1", "--workers", "1"]
    first = CliRunner().invoke(app, command, catch_exceptions=False)
    assert first.exit_code == 0
    assert "2 folds" in first.output and "done: " in first.output
    assert "GPU available" not in first.output and "Trainer" not in first.output
    assert "already finished" in CliRunner().invoke(app, command, catch_exceptions=False).output
    with pytest.raises(ConfigError, match="did you mean 'epochs'"):
        CliRunner().invoke(app, [*command, "--set", "train.epoch=1"], catch_exceptions=False)


def test_two_devices_train_one_model(tmp_path: Path) -> None:
    from wsi2dmamba.config import save_config

    config = quick_run(tmp_path, cases=8, train={"epochs": 1, "devices": 2})
    save_config(tmp_path / "run.yaml", config)
    command = [sys.executable, "-m", "wsi2dmamba", "train", "--config", str(tmp_path / "run.yaml")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert pd.read_csv(config.folder / "predictions.csv")["case_id"].nunique() == 8


def test_mixed_precision_trains(tmp_path: Path) -> None:
    config = quick_run(tmp_path, cases=8, model={"name": "2dmamba"}, train={"epochs": 1, "precision": "bf16-mixed"})
    table = pd.read_csv(train_run(config, workers=1) / "predictions.csv")
    assert np.isfinite(table["prob_class-1"]).all()


def test_tensorboard_logs_every_epoch(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    folder = train_run(quick_run(tmp_path, cases=8, train={"epochs": 2, "track": "tensorboard"}), workers=1)
    assert list(folder.glob("fold-0/logs/events.out.tfevents.*"))


def test_wandb_has_one_run_for_every_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    train_run(quick_run(tmp_path, train={"track": "wandb", "epochs": 1}), workers=1)
    assert len(list((tmp_path / "runs").glob("**/offline-run-*/run-*.wandb"))) == 2


def test_progress_is_told_in_epochs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = quick_run(tmp_path, cases=8, train={"epochs": 3})
    folder = train_run(config, workers=1, say=lambda line: None)
    assert "train: 6/6 epochs" in capsys.readouterr().err
    assert not list(folder.rglob("progress.txt"))


def test_cox_needs_events_in_validation(tmp_path: Path) -> None:
    config = quick_run(tmp_path, task="cox", cases=24, train={"batch_size": 4})
    table = pd.read_csv(config.cohort.csv)
    table["event"] = table["case_id"].isin(["case-001", "case-002", "case-003"]).astype(int)
    table.to_csv(config.cohort.csv, index=False)
    with pytest.raises(CohortError, match="no event"):
        train_run(config, workers=1)
