"""Judge a run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pandas as pd

from wsi2dmamba.cohort.table import load_cohort
from wsi2dmamba.config import RunConfig, load_config
from wsi2dmamba.core.errors import EvaluationError, WSI2DMambaError
from wsi2dmamba.evaluation.compare import Comparison
from wsi2dmamba.evaluation.config import EvalConfig
from wsi2dmamba.evaluation.judge import evaluate
from wsi2dmamba.evaluation.mistakes import Thumbnail
from wsi2dmamba.evaluation.output import write_evaluation
from wsi2dmamba.evaluation.predictions import read_predictions
from wsi2dmamba.evaluation.report import Background
from wsi2dmamba.evaluation.results import Evaluation
from wsi2dmamba.evaluation.rows import Predictions, Task
from wsi2dmamba.evaluation.subgroups import with_columns

THUMBNAIL_PX = 320


def evaluate_run(
    run: Path, config: EvalConfig | None = None, out: Path | None = None, *, shuffled: Comparison | None = None
) -> tuple[Evaluation, Path]:
    """Judge the predictions of a run and write `<run>/eval/`.

    Parameters
    ----------
    run
        A run folder with config.yaml and predictions.csv.
    config
        Settings instead of the run's own `eval` section.
    out
        Folder instead of `<run>/eval`.
    shuffled
        What `compare_with_shuffled` found, for the report.

    Returns
    -------
    tuple
        What was found, and the report's path.

    Raises
    ------
    EvaluationError
        If the folder is no finished run, or its predictions cannot be judged.
    """
    settings = load_run(run)
    config = config or settings.eval
    predictions = read_predictions(run / "predictions.csv", task=task_of(settings))
    if config.subgroups:
        predictions = _with_cohort_columns(predictions, settings, config.subgroups)
    found = evaluate(predictions, config)
    report = write_evaluation(
        found,
        out or run / "eval",
        background_of(run),
        histories={path.parent.name: pd.read_csv(path) for path in sorted(run.glob("fold-*/history.csv"))},
        thumbnail=thumbnails_of(settings),
        shuffled=shuffled,
    )
    return found, report


def load_run(run: Path) -> RunConfig:
    """Return a finished run's settings.

    Raises
    ------
    EvaluationError
        If the folder holds no finished run.
    """
    if not (run / "config.yaml").is_file():
        raise EvaluationError(f"{run} is no run folder (no config.yaml); give one that `wsi2dmamba train` made")
    if not (run / "predictions.csv").is_file():
        raise EvaluationError(
            f"{run} has no predictions.csv: its training is not finished; run `wsi2dmamba train` again"
        )
    return load_config(run / "config.yaml")


def read_run_or_table(path: Path) -> Predictions:
    """Return the predictions of a run folder or of a CSV.

    Raises
    ------
    EvaluationError
        If it is neither, or cannot be judged.
    """
    if path.is_dir():
        return read_predictions(path / "predictions.csv", task=task_of(load_run(path)))
    return read_predictions(path)


def task_of(settings: RunConfig) -> Task:
    """Return what a run predicted, in the words of the predictions schema."""
    return cast(Task, {"cox": "survival"}.get(settings.task.kind, settings.task.kind))


def background_of(run: Path) -> Background:
    """Return what the report tells of a run."""
    return Background(
        title=run.resolve().name,
        cohort=_json(run / "cohort.json"),
        environment=_json(run / "environment.json"),
        config=(run / "config.yaml").read_text(encoding="utf-8"),
    )


def thumbnails_of(settings: RunConfig) -> Thumbnail:
    """Return a function case_id → PNG of its first slide, None where the slide is not where it was tiled."""
    try:
        first_slide = {case.case_id: case.slide_ids[0] for case in load_cohort(settings.cohort).cases}
    except WSI2DMambaError:
        first_slide = {}  # the table has moved: the report stands without pictures

    def thumbnail(case_id: str) -> bytes | None:
        slide_id = first_slide.get(case_id)
        return slide_thumbnail(settings.features.dir / f"{slide_id}.h5") if slide_id else None

    return thumbnail


def slide_thumbnail(feature_file: Path) -> bytes | None:
    """Return a PNG of the slide that a feature file was made from, or None if it is not there any more."""
    import cv2

    from wsi2dmamba.slides.reader import open_slide
    from wsi2dmamba.slides.thumbnail import read_thumbnail
    from wsi2dmamba.slides.tilefile import read_tile_file

    try:
        tiles = read_tile_file(feature_file)
        if tiles.stamp is None or not Path(tiles.stamp.path).exists():
            return None
        with open_slide(Path(tiles.stamp.path)) as reader:
            picture = read_thumbnail(reader, tiles.geometry.slide_mpp).pixels
    except WSI2DMambaError:
        return None  # a foreign feature file or an unreadable slide: the report stands without the picture
    scale = THUMBNAIL_PX / max(picture.shape[:2])
    size = (max(round(picture.shape[1] * scale), 1), max(round(picture.shape[0] * scale), 1))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".png", cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1].tobytes()


def _with_cohort_columns(predictions: Predictions, settings: RunConfig, names: tuple[str, ...]) -> Predictions:
    if set(names) <= set(map(str, predictions.table)):
        return predictions
    cohort = load_cohort(settings.cohort)
    return with_columns(predictions, {case.case_id: case.extra for case in cohort.cases})


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path} is no valid JSON; train the run again") from error
    return value if isinstance(value, dict) else {}
