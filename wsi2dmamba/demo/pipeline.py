"""The demo: a cohort is made, then tiled, extracted, learnt and judged by the functions behind the commands."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from wsi2dmamba.config import save_config
from wsi2dmamba.core.errors import InputError, SlideError, WSI2DMambaError
from wsi2dmamba.core.files import make_folder, remove_partials, write_json
from wsi2dmamba.core.progress import track
from wsi2dmamba.core.workers import default_workers, run_tasks
from wsi2dmamba.demo.cohort import CasePlan, CohortPlan, plan_cohort, write_cohort
from wsi2dmamba.demo.config import MODELS, TASKS, DemoConfig, run_config, run_name
from wsi2dmamba.demo.render import PATCH_PX, SLIDE_MPP, RenderTask, render_slide
from wsi2dmamba.demo.tiles import TileBank, draw_tiles, open_tiles
from wsi2dmamba.evaluation.bootstrap import Interval

Say = Callable[[str], None]

STAGES = ("cohort", "tile", "extract", "train", "eval")
"""The parts of the demo, in order; the last four are the commands of the same name."""

_STAMP = "demo.json"


@dataclass(frozen=True)
class DemoReport:
    """What the demo found.

    Attributes
    ----------
    metrics
        Run name → metric → estimate with its interval, over all patients, each judged by a model that never saw them.
    reports
        Run name → HTML report.
    seconds
        Stage → wall-clock seconds of this call (a stage that was done before takes next to none).
    patients, slides
        Size of the cohort.
    """

    metrics: dict[str, dict[str, Interval]] = field(default_factory=dict)
    reports: dict[str, Path] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    patients: int = 0
    slides: int = 0


def run_demo(config: DemoConfig, say: Say) -> DemoReport:
    """Make the cohort and run the four stages on it, or go on where an earlier call was stopped.

    Parameters
    ----------
    config
        What, and where.
    say
        Takes one line of progress at a time.

    Raises
    ------
    InputError
        If `config.out` holds a demo of other settings, or `config.tiles` cannot be used.
    WSI2DMambaError
        If a stage fails.
    """
    workers = config.workers or default_workers()
    seconds: dict[str, float] = {}
    if config.tiles is not None:
        open_tiles(config.tiles, config.roles)  # what is wrong with them is said before anything is written
    _claim(config)
    with _timed("cohort", seconds, say):
        cases = _make_cohort(config, workers, say)
    with _timed("tile", seconds, say):
        _tile(config, workers)
    with _timed("extract", seconds, say):
        _extract(config, workers)
    with _timed("train", seconds, say):
        _train(config, workers, say)
    report = DemoReport(seconds=seconds, patients=len(cases), slides=sum(len(case.slides) for case in cases))
    with _timed("eval", seconds, say):
        _judge(config, report)
    return report


@contextmanager
def _timed(stage: str, seconds: dict[str, float], say: Say) -> Iterator[None]:
    say(f"[{STAGES.index(stage) + 1}/{len(STAGES)}] {stage}")
    started = time.monotonic()
    yield
    seconds[stage] = time.monotonic() - started


def _claim(config: DemoConfig) -> None:
    """Leave a note of the settings in the folder, or refuse one that holds a demo of other settings."""
    path = make_folder(config.out) / _STAMP
    remove_partials(config.out)
    wanted = config.identity()
    if path.is_file():
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise InputError(f"{path} is no valid JSON; delete {config.out} or choose another --out") from error
        changed = sorted(name for name in wanted if earlier.get(name) != wanted[name])
        if changed:
            differences = ", ".join(f"{name} {earlier.get(name)}, not {wanted[name]}" for name in changed)
            raise InputError(f"{config.out} holds a demo with {differences}; choose another --out, or delete it")
        return
    if any(config.out.iterdir()):
        raise InputError(f"{config.out} holds other files; choose a new or empty folder for --out")
    write_json(path, wanted)


def _make_cohort(config: DemoConfig, workers: int, say: Say) -> list[CasePlan]:
    bank = _tile_bank(config, workers)
    plan = CohortPlan(patients=config.patients, side=config.side, folds=config.folds, seed=config.seed)
    cases = plan_cohort(plan, bank)
    slides = [slide for case in cases for slide in case.slides]
    say(f"{len(cases)} patients with {len(slides)} slides of {', '.join(bank.roles)}")
    folder = make_folder(config.out / "slides")
    remove_partials(folder)
    tasks = [RenderTask(folder / f"{slide.slide_id}.svs", slide, bank) for slide in slides]
    missing = [task for task in tasks if not task.path.is_file()]
    for outcome in track(run_tasks(render_slide, missing, workers), len(missing), "cohort"):
        if outcome.error is not None:
            raise _as_user_error(outcome.error, outcome.task.path.name)
    if not (config.out / "cohort.csv").is_file():
        write_cohort(config.out / "cohort.csv", cases)
    return cases


def _tile_bank(config: DemoConfig, workers: int) -> TileBank:
    if config.tiles is not None:
        return open_tiles(config.tiles, config.roles)
    drawn = config.out / "patches"
    draw_tiles(drawn, per_kind=config.drawn_per_kind, seed=config.seed, workers=workers, side_px=PATCH_PX)
    return open_tiles(drawn, config.roles)


def _as_user_error(error: BaseException, what: str) -> WSI2DMambaError:
    if isinstance(error, WSI2DMambaError):
        return error
    return SlideError(f"{what} could not be made: {type(error).__name__}: {error}; run the same command again")


def _tile(config: DemoConfig, workers: int) -> None:
    from wsi2dmamba.slides.config import TileConfig
    from wsi2dmamba.slides.tile import tile_slides

    report = tile_slides(
        TileConfig(slides=(config.out / "slides",), out=config.out, mpp=SLIDE_MPP, patch_px=PATCH_PX, workers=workers)
    )
    _must_be_whole("tile", [f"{row.slide}: {row.message}" for row in report.failed])


def _extract(config: DemoConfig, workers: int) -> None:
    from wsi2dmamba.features.config import ExtractConfig
    from wsi2dmamba.features.extract import extract_slides

    report = extract_slides(
        ExtractConfig(
            tiles=config.out, out=config.out / "features", encoder="texture", devices=("cpu",), workers=workers
        )
    )
    _must_be_whole("extract", [f"{row.slide_id}: {row.message}" for row in report.failed])


def _must_be_whole(stage: str, failed: list[str]) -> None:
    if failed:
        raise SlideError(f"{stage}: {len(failed)} slides failed ({failed[0]}); run the same command again")


def _train(config: DemoConfig, workers: int, say: Say) -> None:
    from wsi2dmamba.training.run import train_runs

    runs = [run_config(config, task, model) for task in TASKS for model in MODELS]
    for run in runs:
        # For the reader: each of the runs can be repeated, changed and compared with `wsi2dmamba train`.
        save_config(config.out / "configs" / f"{run.name}.yaml", run)
    train_runs(runs, workers=workers, say=say)


def _judge(config: DemoConfig, report: DemoReport) -> None:
    from wsi2dmamba.evaluation.run import evaluate_run

    for name in (run_name(task, model) for task in TASKS for model in MODELS):
        found, html = evaluate_run(config.out / "runs" / name)
        report.metrics[name] = dict(found.pooled)
        report.reports[name] = html
    write_json(
        config.out / "comparison.json",
        {name: {key: value.to_dict() for key, value in found.items()} for name, found in report.metrics.items()},
    )
