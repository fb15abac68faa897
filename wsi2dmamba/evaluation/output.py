"""Everything an evaluation leaves in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from wsi2dmamba.core.files import atomic_path, make_folder, remove_partials, write_json, write_text
from wsi2dmamba.evaluation.catalogue import describe
from wsi2dmamba.evaluation.compare import Comparison
from wsi2dmamba.evaluation.figures.classes import class_drawings
from wsi2dmamba.evaluation.figures.flow import flow_of_patients
from wsi2dmamba.evaluation.figures.forest import ForestLine, forest
from wsi2dmamba.evaluation.figures.outcomes import auc_over_time, kaplan_meier, predicted_against_true
from wsi2dmamba.evaluation.figures.style import Drawing, house_style, percent
from wsi2dmamba.evaluation.figures.survival_calibration import survival_calibration
from wsi2dmamba.evaluation.figures.training import training_curves
from wsi2dmamba.evaluation.mistakes import Thumbnail, most_certain_mistakes
from wsi2dmamba.evaluation.report import Background, render_report
from wsi2dmamba.evaluation.results import Evaluation
from wsi2dmamba.evaluation.subgroups import judge_subgroups


def write_evaluation(
    found: Evaluation,
    folder: Path,
    background: Background,
    *,
    histories: Mapping[str, pd.DataFrame] | None = None,
    thumbnail: Thumbnail | None = None,
    shuffled: Comparison | None = None,
) -> Path:
    """Write metrics.json, predictions.csv, figures/ and report.html into `folder`.

    Parameters
    ----------
    found
        What was judged.
    folder
        Made if it is missing.
    background
        What else the report tells.
    histories
        Training → history.csv, for the training curves.
    thumbnail
        case_id → PNG of its slide.
    shuffled
        The run against itself on shuffled patches; also written as shuffled-patches.json.

    Returns
    -------
    Path
        The report.
    """
    drawings = draw(found, histories or {})
    with house_style():
        flow = flow_of_patients(background.cohort, found.patients)
    report = render_report(
        found, drawings, most_certain_mistakes(found, thumbnail), background, flow=flow, shuffled=shuffled
    )
    for place in (folder, folder / "figures"):
        remove_partials(make_folder(place))
    for drawing in [*([flow] if flow else []), *drawings]:
        drawing.write(folder / "figures")
    with atomic_path(folder / "predictions.csv") as partial:
        found.predictions.table.to_csv(partial, index=False)
    write_text(folder / "report.html", report)
    if shuffled is not None:
        write_json(folder / "shuffled-patches.json", shuffled.to_dict())
    # The numbers come last: where metrics.json stands, everything stands.
    write_json(folder / "metrics.json", found.to_dict())
    return folder / "report.html"


def draw(found: Evaluation, histories: Mapping[str, pd.DataFrame]) -> list[Drawing]:
    """Return all figures that the task and the data allow."""
    with house_style():
        if found.task in ("classification", "ordinal"):
            drawings: list[Drawing | None] = [*class_drawings(found)]
        elif found.task == "survival":
            drawings = [kaplan_meier(found), auc_over_time(found), survival_calibration(found)]
        else:
            drawings = [predicted_against_true(found)]
        if len(found.folds) > 1 or found.config.subgroups:
            drawings.append(_forest(found))
        drawings.append(training_curves(histories))
    return [drawing for drawing in drawings if drawing is not None]


def _forest(found: Evaluation) -> Drawing:
    table = found.predictions.table
    test = table[table["split"] == "test"]
    patients = test.groupby("fold")["case_id"].nunique()
    lines = [ForestLine("all patients", found.patients, found.pooled[found.headline], whole=True)]
    if len(found.folds) > 1:
        lines += [ForestLine(f"fold {k}", int(patients[k]), m[found.headline]) for k, m in found.folds.items()]
    subgroups = judge_subgroups(found, found.config.subgroups)
    lines += [ForestLine(f"{s.column}: {s.value}", s.patients, s.metric) for s in subgroups]
    what = "folds and subgroups" if subgroups else "folds"
    caption = f"Headline metric in all patients, {what}; {percent(found.config.confidence)} intervals."
    return forest(lines, describe(found.headline), "forest", caption)
