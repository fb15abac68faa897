"""One training: one fold and one seed, from features to a model and its predictions."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsi2dmamba.cohort.cases import Case, Cohort
from wsi2dmamba.cohort.folds import Fold
from wsi2dmamba.config import RunConfig
from wsi2dmamba.core.files import atomic_path, make_folder, remove_partials
from wsi2dmamba.training.preflight import FeatureDescription
from wsi2dmamba.training.watch import PROGRESS

if TYPE_CHECKING:
    from wsi2dmamba.training.callbacks import EpochEnd
    from wsi2dmamba.training.checkpoint import TrainedModel
    from wsi2dmamba.training.data import BagStore

PREDICTIONS = "predictions.csv"
HISTORY = "history.csv"
LAST = "last.ckpt"


@dataclass(frozen=True)
class FoldTask:
    """Everything one training needs; it is sent to a worker process.

    Attributes
    ----------
    config
        The run's settings.
    cohort, paths, features
        Patients, slide id → feature file, and what the features are.
    fold, seed
        Which training this is.
    folder
        Where its results go.
    threads
        Threads of torch and numba; None leaves them as they are.
    gpu
        Which GPU to train on; None leaves the choice to Lightning.
    """

    config: RunConfig
    cohort: Cohort
    paths: dict[str, Path]
    features: FeatureDescription
    fold: Fold
    seed: int
    folder: Path
    threads: int | None
    gpu: int | None = None


@dataclass(frozen=True)
class FoldResult:
    """What came of one training.

    Attributes
    ----------
    folder
        Where its files are.
    epochs, best_epoch
        Epochs trained, and the one whose weights are kept (from 1).
    validation_loss
        Of the kept weights.
    seconds
        Wall-clock time.
    """

    folder: Path
    epochs: int
    best_epoch: int
    validation_loss: float
    seconds: float


def is_finished(folder: Path) -> bool:
    """Whether a training has left all its files: its predictions are written last."""
    return (folder / PREDICTIONS).is_file()


def fit_fold(task: FoldTask) -> FoldResult:
    """Train one fold with one seed, or go on from its last checkpoint.

    Parameters
    ----------
    task
        What to train.

    Raises
    ------
    StoreError
        If features cannot be read or are not finite.
    TrainingError
        If the loss becomes infinite or NaN.
    CheckpointError
        If the checkpoint to go on from cannot be read.
    """
    started = time.monotonic()
    if task.threads is not None:
        limit_threads(task.threads)
    from wsi2dmamba.training.allocator import keep_freed_pages
    from wsi2dmamba.training.data import BagStore
    from wsi2dmamba.training.learn import learn
    from wsi2dmamba.training.quiet import quiet_lightning

    keep_freed_pages()
    remove_partials(make_folder(task.folder))
    store = BagStore(task.paths, task.config.features)
    cases = task.cohort.by_id()
    with quiet_lightning():
        trained, epochs = learn(task, cases, store)
    result = FoldResult(
        task.folder, len(epochs.history), epochs.best_epoch, epochs.best_loss, time.monotonic() - started
    )
    if not leads_devices(task.config.train.devices):
        return result
    trained.model.load_state_dict(epochs.weights)
    trained.model.eval()
    _calibrate(task, trained, cases, store)
    _save(task, trained, epochs, cases, store)
    return replace(result, seconds=time.monotonic() - started)


def leads_devices(devices: int) -> bool:
    """Whether this process writes the results: with DDP one process per device runs the same program."""
    return devices == 1 or os.environ.get("LOCAL_RANK", "0") == "0"


def limit_threads(threads: int) -> None:
    """Let torch and numba use so many threads in this process."""
    # Numba reads its limit when it is first imported; a worker process has not done so yet.
    if "numba" not in sys.modules:
        os.environ["NUMBA_NUM_THREADS"] = str(threads)
    import torch

    torch.set_num_threads(threads)


def _calibrate(task: FoldTask, trained: TrainedModel, cases: dict[str, Case], store: BagStore) -> None:
    from wsi2dmamba.training.data import samples_of
    from wsi2dmamba.training.inference import logits_of

    if trained.task.kind != "cox":
        return
    samples = samples_of([cases[case_id] for case_id in task.fold.train], trained.several_slides)
    trained.task.calibrate(logits_of(trained.model, samples, store), [sample.case for sample in samples])


def _save(task: FoldTask, trained: TrainedModel, epochs: EpochEnd, cases: dict[str, Case], store: BagStore) -> None:
    import pandas as pd

    from wsi2dmamba.training.checkpoint import save_model
    from wsi2dmamba.training.inference import predict_cases, prediction_table

    details: dict[str, Any] = {"best_epoch": epochs.best_epoch, "validation_loss": epochs.best_loss}
    save_model(task.folder, trained, epochs.weights, details)
    with atomic_path(task.folder / HISTORY) as partial:
        pd.DataFrame(epochs.history).to_csv(partial, index=False)
    tables = []
    for split, ids in task.fold.parts():
        chosen = [cases[case_id] for case_id in ids]
        predicted = predict_cases(trained.model, trained.task, chosen, store, trained.several_slides)
        truth = trained.task.truth(chosen)
        tables.append(prediction_table(chosen, truth, predicted, fold=task.fold.index, seed=task.seed, split=split))
    with atomic_path(task.folder / PREDICTIONS) as partial:
        pd.concat(tables, ignore_index=True).to_csv(partial, index=False)
    for leftover in (LAST, PROGRESS):
        (task.folder / leftover).unlink(missing_ok=True)
