"""Tile, extract, train and judge in a row, redoing only what changed.

Each stage skips what it has done: slides by slide, trainings by fold. Whether a stage's *settings* changed since the
last chain is told by `.chain.json`, which is written into the stage's output when the stage is done.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsi2dmamba.config import RunConfig
from wsi2dmamba.core.errors import ConfigError
from wsi2dmamba.core.files import write_json

RECORD = ".chain.json"
Say = Callable[[str], None]


@dataclass(frozen=True)
class ChainResult:
    """What a chain did.

    Attributes
    ----------
    run
        The run folder.
    report
        The report of the evaluation.
    failed_slides
        Slides that could not be tiled or extracted; the others went on.
    """

    run: Path
    report: Path
    failed_slides: tuple[str, ...]


def run_chain(
    config: RunConfig, *, workers: int | None = None, dask: str | None = None, say: Say | None = None
) -> ChainResult:
    """Run every stage that the settings describe.

    Parameters
    ----------
    config
        A run's settings. Without the sections `tile` and `extract` the chain starts from the features.
    workers, dask
        As in `train_run`.
    say
        Where lines about the progress go; None = nowhere.

    Raises
    ------
    WSI2DMambaError
        If a stage cannot be done at all.
    """
    from wsi2dmamba.training.run import train_run

    say = say or (lambda line: None)
    config = config.with_absolute_paths()
    failed: list[str] = []
    retiled = _tile(config, failed, say)
    _extract(config, retiled, failed, say)
    say("train")
    run = train_run(config, workers=workers, dask=dask, overwrite=True, say=say)
    report = _judge(config, run, say)
    return ChainResult(run, report, tuple(dict.fromkeys(failed)))


def _tile(config: RunConfig, failed: list[str], say: Say) -> bool:
    if config.tile is None:
        return False
    from wsi2dmamba.slides.tile import tile_slides

    settings = config.tile.model_dump(mode="json", exclude={"workers", "overwrite", "slides"})
    changed = _changed(config.tile.out, settings)
    say("tile again: its settings have changed" if changed else "tile")
    report = tile_slides(config.tile.model_copy(update={"overwrite": changed}))
    failed.extend(row.slide for row in report.rows if row.status == "failed")
    _record(config.tile.out, settings)
    return changed


def _extract(config: RunConfig, retiled: bool, failed: list[str], say: Say) -> None:
    if config.extract is None:
        return
    from wsi2dmamba.features.extract import extract_slides

    speed = {"workers", "overwrite", "batch_size", "devices", "cache", "slides", "compile"}
    settings = config.extract.model_dump(mode="json", exclude=speed)
    changed = _changed(config.extract.out, settings)
    say("extract again: its settings have changed" if changed or retiled else "extract")
    report = extract_slides(config.extract.model_copy(update={"overwrite": changed or retiled}))
    failed.extend(row.slide_id for row in report.failed)
    _record(config.extract.out, settings)


def _judge(config: RunConfig, run: Path, say: Say) -> Path:
    from wsi2dmamba.evaluation.run import evaluate_run

    folder = run / "eval"
    settings = config.eval.model_dump(mode="json")
    report = folder / "report.html"
    fresh = report.is_file() and report.stat().st_mtime >= (run / "predictions.csv").stat().st_mtime
    if fresh and not _changed(folder, settings) and (folder / RECORD).is_file():
        say("eval: nothing has changed")
        return report
    say("eval")
    evaluate_run(run, config.eval)
    _record(folder, settings)
    return report


def _changed(folder: Path, settings: dict[str, Any]) -> bool:
    """Whether an earlier chain left `folder` with other settings."""
    path = folder / RECORD
    if not path.is_file():
        return False
    try:
        return bool(json.loads(path.read_text(encoding="utf-8")) != settings)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{path} is damaged; delete it to have the stage decide anew") from error


def _record(folder: Path, settings: dict[str, Any]) -> None:
    write_json(folder / RECORD, settings)
