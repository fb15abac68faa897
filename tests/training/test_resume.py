"""A training that was stopped at any step ends with the files of one that was not, byte for byte."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.processes import environment, interruptible
from tests.training.runs import quick_run, run_values
from wsi2dmamba.config import RunConfig, load_config
from wsi2dmamba.core.errors import CheckpointError
from wsi2dmamba.training.fit import FoldTask, fit_fold
from wsi2dmamba.training.module import SlideModule
from wsi2dmamba.training.run import _task, prepare_run, train_run

RESULTS = ("model.safetensors", "model.json", "history.csv", "predictions.csv")


class Stopped(RuntimeError):
    """Stands for the end of the process."""


def first_task(config: RunConfig) -> FoldTask:
    prepared = prepare_run(config, say=lambda line: None)
    return _task(prepared, prepared.folds[0], 0, threads=1)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULTS}


def stop_before(monkeypatch: pytest.MonkeyPatch, position: int) -> None:
    step = SlideModule.training_step

    def stopping(self: SlideModule, batch: Any, batch_idx: int) -> torch.Tensor:
        if self.position == position:
            raise Stopped
        return step(self, batch, batch_idx)

    monkeypatch.setattr(SlideModule, "training_step", stopping)


@pytest.mark.parametrize(
    ("stops", "train", "model"),
    [
        ([1], {}, "abmil"),
        ([6], {}, "abmil"),  # the first epoch's end
        ([2, 9, 17], {}, "abmil"),
        ([5, 11], {"accumulate": 2, "patch_dropout": 0.3, "flips": True}, "abmil"),
        ([7], {"ema": 0.9, "balanced_sampling": True, "clip_norm": 1.0, "warmup_epochs": 1}, "abmil"),
        ([3, 4], {"batch_size": 3, "several_slides": "average"}, "abmil"),
        ([4, 7], {"flips": True}, "2dmamba"),
    ],
    ids=["first-step", "epoch-end", "thrice", "accumulate-augment", "ema-balanced", "batches-of-slides", "2dmamba"],
)
def test_stopped_and_gone_on_equals_undisturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stops: list[int], train: dict[str, Any], model: str
) -> None:
    settings = {"model": {"name": model}, "train": {"checkpoint_seconds": 0, **train}}
    undisturbed = first_task(quick_run(tmp_path / "a", **settings))
    fit_fold(undisturbed)
    disturbed = first_task(quick_run(tmp_path / "b", **settings))
    for position in stops:
        with monkeypatch.context() as patch:
            stop_before(patch, position)
            with pytest.raises(Stopped):
                fit_fold(disturbed)
        assert not (disturbed.folder / "predictions.csv").exists()
    fit_fold(disturbed)
    assert contents(disturbed.folder) == contents(undisturbed.folder)
    assert not (disturbed.folder / "last.ckpt").exists()


def test_another_seed_gives_another_model(tmp_path: Path) -> None:
    task = first_task(quick_run(tmp_path))
    fit_fold(task)
    from dataclasses import replace

    other = replace(task, seed=1, folder=tmp_path / "other")
    fit_fold(other)
    assert contents(task.folder)["model.safetensors"] != contents(other.folder)["model.safetensors"]


def test_a_checkpoint_that_carries_code_is_refused(tmp_path: Path) -> None:
    import pickle

    task = first_task(quick_run(tmp_path))
    task.folder.mkdir(parents=True)

    class Evil:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "opened"),))

    torch.save({"state_dict": Evil()}, task.folder / "last.ckpt")
    with pytest.raises(CheckpointError, match=r"last\.ckpt cannot be read"):
        fit_fold(task)
    (task.folder / "last.ckpt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(CheckpointError, match=r"last\.ckpt cannot be read"):
        fit_fold(task)
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize(
    ("command", "sent"), [("train", signal.SIGKILL), ("train", signal.SIGINT), ("run", signal.SIGINT)]
)
def test_a_run_that_is_killed_or_interrupted_and_started_again(
    command: str, sent: signal.Signals, tmp_path: Path
) -> None:
    longer = {"train": {"epochs": 8, "checkpoint_seconds": 0}}
    reference = quick_run(tmp_path / "a", **longer)
    values = run_values(tmp_path / "b", **longer)
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(values))
    arguments = [sys.executable, "-m", "wsi2dmamba", command, "--config", str(tmp_path / "run.yaml")]
    process = subprocess.Popen(arguments, env=environment(), stderr=subprocess.PIPE, text=True, **interruptible())
    fold = tmp_path / "b" / "runs" / "quick" / "fold-0"
    deadline = time.monotonic() + 120
    while not (fold / "last.ckpt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(sent)
    said = process.communicate()[1]
    assert (fold / "last.ckpt").exists(), f"the run ended before it could be stopped: {said}"
    if sent == signal.SIGINT:
        assert process.returncode == 130 and "same command" in said and "Traceback" not in said
    train_run(load_config(tmp_path / "run.yaml"), workers=1)
    expected = train_run(reference, workers=1)
    for index in range(2):
        assert contents(expected / f"fold-{index}") == contents(tmp_path / "b" / "runs" / "quick" / f"fold-{index}")
