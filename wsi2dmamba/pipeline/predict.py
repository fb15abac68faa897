"""From slides, or their features, to the predictions of a trained run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wsi2dmamba.cohort.cases import Case
from wsi2dmamba.cohort.matching import feature_paths
from wsi2dmamba.cohort.reading import read_table, require_column, slide_id_of
from wsi2dmamba.core.errors import InputError, WSI2DMambaError
from wsi2dmamba.core.files import atomic_path

if TYPE_CHECKING:
    import pandas as pd

    from wsi2dmamba.training.data import BagStore
    from wsi2dmamba.training.ensemble import Ensemble

Say = Callable[[str], None]


@dataclass(frozen=True)
class Predicted:
    """Predictions, and what could not be predicted.

    Attributes
    ----------
    table
        One row per case: case_id, slides (how many), and the columns of predictions.csv.
    failed
        Slide id → why.
    """

    table: pd.DataFrame
    failed: dict[str, str]


def predict_features(
    run: Path, folder: Path, *, cases: Path | None = None, only: Sequence[str] | None = None
) -> Predicted:
    """Predict from feature files with the mean of all models of a run.

    Parameters
    ----------
    run
        A run folder, or one of its folds.
    folder
        Feature files of the encoder and resolution of the run's training.
    cases
        Table with columns slide_id and case_id: slides of one patient are then taken together. Without it every
        slide is a case.
    only
        Slide ids; None = all in the folder.

    Raises
    ------
    WSI2DMambaError
        If the run or the folder cannot be used at all.
    """
    import pandas as pd

    from wsi2dmamba.training.config import FeatureSource
    from wsi2dmamba.training.data import BagStore
    from wsi2dmamba.training.ensemble import Ensemble
    from wsi2dmamba.training.preflight import describe_features

    models = Ensemble.of_run(run)
    paths = feature_paths(folder)
    if only is not None:
        paths = {slide: paths[slide] for slide in only if slide in paths}
    source = FeatureSource(dir=folder, cache="none")
    failed: dict[str, str] = {}
    good: dict[str, Path] = {}
    for slide, path in paths.items():
        try:
            models.check(describe_features({slide: path}, source), path)
            good[slide] = path
        except WSI2DMambaError as error:
            failed[slide] = str(error)
    rows = [
        row
        for case in _cases(good, cases)
        if (row := _predict_one(models, case, BagStore(good, source), failed)) is not None
    ]
    return Predicted(pd.DataFrame(rows), failed)


def predict_slides(
    run: Path,
    slides: Sequence[Path],
    work: Path,
    *,
    cases: Path | None = None,
    encoder: str | None = None,
    slide_mpp: float | None = None,
    workers: int | None = None,
    say: Say | None = None,
) -> Predicted:
    """Predict from raw slides: tile and extract as for the run's training, then predict.

    Parameters
    ----------
    run
        A run folder, or one of its folds.
    slides
        Slide files or folders of them.
    work
        Where tiles and features go; what is there already is not made again.
    cases
        As in `predict_features`.
    encoder
        How to load the encoder; None = by the name the features were trained on.
    slide_mpp
        Micrometres per level-0 pixel of slides that do not say it.
    workers
        Processes for tiling and reading; None = one per processor.
    say
        Where lines about the progress go.

    Raises
    ------
    WSI2DMambaError
        If nothing can be predicted at all.
    """
    from wsi2dmamba.features.config import ExtractConfig
    from wsi2dmamba.features.extract import extract_slides
    from wsi2dmamba.slides.config import TileConfig
    from wsi2dmamba.slides.tile import tile_slides
    from wsi2dmamba.training.ensemble import Ensemble

    say = say or (lambda line: None)
    trained = Ensemble.of_run(run).features
    if trained.mpp is None or not trained.patch_px:
        raise InputError(f"{run} was trained on features that do not say their resolution; use --features instead")
    say(f"tile at {trained.mpp} µm/px, {trained.patch_px} px")
    tiled = tile_slides(
        TileConfig(
            slides=tuple(slides),
            out=work,
            mpp=trained.mpp,
            patch_px=trained.patch_px,
            overlap_px=trained.overlap_px,
            slide_mpp=slide_mpp,
            workers=workers,
            **json.loads(trained.tiling),
        )
    )
    failed = {row.slide: row.message for row in tiled.rows if row.status == "failed"}
    wanted = [row.slide for row in tiled.rows if row.slide not in failed]
    say(f"extract {trained.encoder}")
    extracted = extract_slides(
        ExtractConfig(tiles=work, out=work / "features", encoder=encoder or trained.encoder, workers=workers)
    )
    failed |= {row.slide_id: row.message for row in extracted.failed if row.slide_id in wanted}
    say("predict")
    predicted = predict_features(run, work / "features" / trained.encoder, cases=cases, only=wanted)
    return Predicted(predicted.table, failed | predicted.failed)


def write_predictions(path: Path, predicted: Predicted) -> None:
    """Write the table as CSV, whole or not at all."""
    with atomic_path(path) as partial:
        predicted.table.to_csv(partial, index=False)


def _cases(paths: dict[str, Path], table: Path | None) -> list[Case]:
    if table is None:
        return [Case(slide, (slide,)) for slide in sorted(paths)]
    rows = read_table(table)
    slides = require_column(rows, "slide_id", table, "--cases").map(slide_id_of)
    owners = require_column(rows, "case_id", table, "--cases")
    by_case: dict[str, list[str]] = {}
    for slide, owner in zip(slides, owners, strict=True):
        if slide in paths:
            by_case.setdefault(str(owner), []).append(slide)
    if not by_case:
        raise InputError(f"{table} names none of the slides; its slide_id must be the slides' file names")
    return [Case(case_id, tuple(members)) for case_id, members in sorted(by_case.items())]


def _predict_one(models: Ensemble, case: Case, store: BagStore, failed: dict[str, str]) -> dict[str, object] | None:
    try:
        columns = models.predict([case], store)
    except WSI2DMambaError as error:
        failed.update({slide: str(error) for slide in case.slide_ids})
        return None
    values = {name: float(column[0]) for name, column in columns.items()}
    return {"case_id": case.case_id, "slides": len(case.slide_ids), **values}
