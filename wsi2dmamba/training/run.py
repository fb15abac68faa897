"""A run: every fold with every seed, in one folder that can be repeated and gone on with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from wsi2dmamba.cohort.cases import Cohort
from wsi2dmamba.cohort.folds import Fold
from wsi2dmamba.cohort.matching import Matched, match_features
from wsi2dmamba.cohort.splits import make_splits, weak_spots
from wsi2dmamba.cohort.table import load_cohort
from wsi2dmamba.config import RunConfig
from wsi2dmamba.core.errors import CohortError, TrainingError, WSI2DMambaError
from wsi2dmamba.core.executors import Executor, make_executor
from wsi2dmamba.core.files import atomic_path
from wsi2dmamba.core.workers import default_workers
from wsi2dmamba.training.fit import PREDICTIONS, FoldResult, FoldTask, fit_fold, is_finished, leads_devices
from wsi2dmamba.training.folder import claim_folder, inputs_digest, lay_out
from wsi2dmamba.training.preflight import FeatureDescription, describe_features
from wsi2dmamba.training.watch import show_epochs

Say = Callable[[str], None]


@dataclass(frozen=True)
class Prepared:
    """A run that can start: its inputs are checked and its folder is laid out.

    Attributes
    ----------
    config
        With absolute paths.
    matched
        The cohort, and its feature files.
    features
        What the features have in common.
    folds
        Who trains, validates and tests.
    """

    config: RunConfig
    matched: Matched
    features: FeatureDescription
    folds: list[Fold]


def train_run(
    config: RunConfig,
    *,
    workers: int | None = None,
    dask: str | None = None,
    overwrite: bool = False,
    say: Say | None = None,
) -> Path:
    """Train every fold with every seed, and gather the predictions.

    Parameters
    ----------
    config
        The run's settings.
    workers
        Trainings at the same time; None = `train.workers`, or one per GPU, or one per processor.
    dask
        A Dask scheduler or a YAML of one, instead of processes here (see `core.executors`).
    overwrite
        Delete a run of other settings that is in the folder.
    say
        Where lines about the progress go; None = nowhere.

    Returns
    -------
    Path
        The run folder. A finished run of the same settings and inputs is left as it is.

    Raises
    ------
    WSI2DMambaError
        For any input that cannot be used, and if a fold fails (the others are kept).
    """
    return train_runs([config], workers=workers, dask=dask, overwrite=overwrite, say=say)[0]


def train_runs(
    configs: Sequence[RunConfig],
    *,
    workers: int | None = None,
    dask: str | None = None,
    overwrite: bool = False,
    say: Say | None = None,
) -> list[Path]:
    """Train several runs with one set of worker processes; see `train_run`."""
    shown = say is not None
    say = say or (lambda line: None)
    prepared = [prepare_run(config, overwrite=overwrite, say=say) for config in configs]
    everything = [(one, fold, seed) for one in prepared for fold in one.folds for seed in one.config.train.seeds]
    gpus = _gpus(prepared)
    asked = workers or max((one.config.train.workers or 0 for one in prepared), default=0) or gpus or default_workers()
    several_devices = any(one.config.train.devices > 1 for one in prepared)
    at_once = 1 if several_devices else max(1, min(asked, len(everything)))
    # From the whole number of trainings, not of those left: a run that goes on must not use other threads.
    threads = None if dask else max(1, default_workers() // at_once)
    tasks = [
        _task(one, fold, seed, threads, index % gpus if gpus and not dask else None)
        for index, (one, fold, seed) in enumerate(everything)
    ]
    left = [task for task in tasks if not is_finished(task.folder)]
    if 0 < len(left) < len(tasks):
        say(f"{len(tasks) - len(left)} of {len(tasks)} trainings are finished already")
    if left:
        epochs = [task.config.train.epochs for task in left]
        watching = show_epochs([task.folder for task in left], epochs) if shown else nullcontext()
        with make_executor(dask, at_once, gpu=bool(gpus)) as executor, watching:
            _train_all(left, executor, say)
    for one in prepared:
        if leads_devices(one.config.train.devices):
            _gather(one, [task for task in tasks if task.config is one.config])
    return [one.config.folder for one in prepared]


def prepare_run(config: RunConfig, *, overwrite: bool = False, say: Say) -> Prepared:
    """Check everything that can be checked before training, and lay out the run folder.

    Raises
    ------
    WSI2DMambaError
        If table, features or splits cannot be used.
    ConfigError
        If the folder holds a run of other settings or inputs and `overwrite` is not set.
    """
    from wsi2dmamba.models.registry import parse_options

    config = config.with_absolute_paths()
    parse_options(config.model.name, config.model.options)
    cohort = load_cohort(config.cohort)
    matched = match_features(cohort, config.features.dir)
    features = describe_features(matched.paths, config.features)
    folds = make_splits(matched.cohort, config.splits, config.cohort)
    if config.task.kind == "cox":
        _require_validation_events(folds, matched.cohort)
    for line in report_lines(matched, folds):
        say(line)
    claim_folder(config, inputs_digest(matched), overwrite)
    prepared = Prepared(config, matched, features, folds)
    lay_out(config, matched, folds)
    return prepared


def _require_validation_events(folds: Sequence[Fold], cohort: Cohort) -> None:
    cases = cohort.by_id()
    for fold in folds:
        if not any(cases[case_id].event for case_id in fold.validation):
            raise CohortError(
                f"fold {fold.index}: no event in validation, so a partial likelihood cannot choose the epoch; "
                "use fewer folds or a larger splits.validation_fraction"
            )


def report_lines(matched: Matched, folds: Sequence[Fold]) -> list[str]:
    """Return what a user should know of cohort and folds before training: one line each."""
    cohort = matched.cohort
    slides = sum(len(case.slide_ids) for case in cohort.cases)
    lines = [f"{len(cohort)} patients with {slides} slides, {len(folds)} folds"]
    lines += [str(exclusion) for exclusion in cohort.exclusions]
    lines += [f"no features for {slide}; did you mean {near}?" for slide, near in list(matched.suggestions.items())[:5]]
    if matched.unlabelled:
        lines.append(f"{len(matched.unlabelled)} feature files have no row in the table (e.g. {matched.unlabelled[0]})")
    return lines + weak_spots(folds, cohort)


def _task(prepared: Prepared, fold: Fold, seed: int, threads: int | None, gpu: int | None = None) -> FoldTask:
    config = prepared.config
    name = f"fold-{fold.index}" + (f"-seed-{seed}" if len(config.train.seeds) > 1 else "")
    wanted = {case_id for _, ids in fold.parts() for case_id in ids}
    slides = {slide for case in prepared.matched.cohort.cases if case.case_id in wanted for slide in case.slide_ids}
    paths = {slide: path for slide, path in prepared.matched.paths.items() if slide in slides}
    cohort = prepared.matched.cohort
    return FoldTask(config, cohort, paths, prepared.features, fold, seed, config.folder / name, threads, gpu)


def _gpus(prepared: Sequence[Prepared]) -> int:
    """Return over how many GPUs the trainings are spread: none when they train on the CPU or take several each."""
    if all(
        one.config.train.accelerator in ("auto", "gpu", "cuda") and one.config.train.devices == 1 for one in prepared
    ):
        import torch

        return torch.cuda.device_count()
    return 0


def _train_all(tasks: Sequence[FoldTask], executor: Executor, say: Say) -> None:
    failed: list[tuple[FoldTask, BaseException]] = []
    for done, outcome in enumerate(executor.run(fit_fold, tasks), start=1):
        label = f"{outcome.task.config.name} {outcome.task.folder.name}"
        if outcome.error is not None:
            failed.append((outcome.task, outcome.error))
            say(f"[{done}/{len(tasks)}] {label}: {' '.join(str(outcome.error).split())}")
        elif outcome.value is not None:
            say(f"[{done}/{len(tasks)}] {label}: {_result_line(outcome.value)}")
    if not failed:
        return
    task, error = failed[0]
    others = f" ({len(failed)} of {len(tasks)} trainings failed; finished ones are kept)" if len(tasks) > 1 else ""
    if isinstance(error, WSI2DMambaError):
        raise type(error)(f"{error}{others}") from error
    raise TrainingError(f"{task.config.name} {task.folder.name} failed: {error!r}{others}") from error


def _result_line(result: FoldResult) -> str:
    return (
        f"{result.epochs} epochs in {result.seconds:.0f} s, best epoch {result.best_epoch}, "
        f"validation loss {result.validation_loss:.4f}"
    )


def _gather(prepared: Prepared, tasks: Sequence[FoldTask]) -> None:
    import pandas as pd

    final = prepared.config.folder / PREDICTIONS
    if final.is_file() and all(final.stat().st_mtime >= (t.folder / PREDICTIONS).stat().st_mtime for t in tasks):
        return
    tables = [pd.read_csv(task.folder / PREDICTIONS, dtype=str, keep_default_na=False) for task in tasks]
    with atomic_path(final) as partial:
        pd.concat(tables, ignore_index=True).to_csv(partial, index=False)
