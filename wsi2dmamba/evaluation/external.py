"""Judge a run on a cohort it has never seen, with all its folds together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from wsi2dmamba.cohort.matching import match_features
from wsi2dmamba.cohort.summary import cohort_json
from wsi2dmamba.cohort.table import load_cohort
from wsi2dmamba.core.errors import EvaluationError
from wsi2dmamba.evaluation.classification import choose_operating_points
from wsi2dmamba.evaluation.config import EvalConfig
from wsi2dmamba.evaluation.judge import evaluate
from wsi2dmamba.evaluation.output import write_evaluation
from wsi2dmamba.evaluation.predictions import read_predictions
from wsi2dmamba.evaluation.report import Background
from wsi2dmamba.evaluation.results import Evaluation
from wsi2dmamba.evaluation.rows import Cuts, Predictions
from wsi2dmamba.evaluation.run import background_of, load_run, task_of, thumbnails_of
from wsi2dmamba.evaluation.subgroups import with_columns
from wsi2dmamba.training.data import BagStore
from wsi2dmamba.training.ensemble import Ensemble
from wsi2dmamba.training.inference import prediction_table
from wsi2dmamba.training.preflight import describe_features


def evaluate_external(
    run: Path, table: Path, features: Path, config: EvalConfig | None = None, out: Path | None = None
) -> tuple[Evaluation, Path]:
    """Judge the mean of all models of a run on another cohort.

    Parameters
    ----------
    run
        A finished run folder.
    table
        Cohort CSV with the same columns as the run's own.
    features
        Its feature files, of the run's encoder and resolution.
    config
        Settings instead of the run's own.
    out
        Folder of the results; default ``<run>/external/<table's name>``.

    Returns
    -------
    tuple
        What was found, and the report's path.

    Notes
    -----
    Nothing is tuned on the external cohort. The prediction is the mean of the models', so its operating points are
    the means of theirs: each model's threshold is chosen on its own validation patients, its risk cut is the quantile
    of its own training patients.

    Raises
    ------
    EvaluationError
        If a patient of the run is among the external patients.
    """
    settings = load_run(run)
    config = config or settings.eval
    ensemble = Ensemble.of_run(run)
    task = ensemble.models[0].task
    names = task.state().get("class_names")
    cohort_settings = settings.cohort.model_copy(update={"csv": table, **({"class_names": names} if names else {})})
    matched = match_features(load_cohort(cohort_settings), features)
    source = settings.features.model_copy(update={"dir": features})
    ensemble.check(describe_features(matched.paths, source), features)
    cases = list(matched.cohort.cases)
    own = read_predictions(run / "predictions.csv", task=task_of(settings))
    _refuse_shared_patients({case.case_id for case in cases}, set(own.table["case_id"]))
    predicted = ensemble.predict(cases, BagStore(matched.paths, source))
    judged = prediction_table(cases, task.truth(cases), predicted, fold=0, seed=0, split="test")
    checked = replace(read_predictions(judged, task=task_of(settings)), cuts=mean_cuts(own, config))
    if config.subgroups:
        checked = with_columns(checked, {case.case_id: case.extra for case in cases})
    found = evaluate(checked, config)
    described = background_of(run)
    background = Background(
        title=f"{described.title} on {table.stem}",
        cohort=cohort_json(matched.cohort, matched.unlabelled),
        environment=described.environment,
        config=described.config,
    )
    folder = out or run / "external" / table.stem
    shown = settings.model_copy(update={"cohort": cohort_settings, "features": source})
    return found, write_evaluation(found, folder, background, thumbnail=thumbnails_of(shown))


def _refuse_shared_patients(external: set[str], own: set[str]) -> None:
    shared = sorted(external & own)
    if shared:
        raise EvaluationError(
            f"{len(shared)} patients of the external cohort, the first {shared[0]!r}, are in the run itself: "
            "its models have seen them; leave them out of the table"
        )


def mean_cuts(own: Predictions, config: EvalConfig) -> Cuts:
    """Return the means, over the models of a run, of the operating points that each has on its own patients."""
    if own.task in ("classification", "ordinal"):
        points = choose_operating_points(own.rows("test"), own.rows("validation"), config.threshold)
        mean = np.mean(list(points.thresholds.values()), axis=0)
        return Cuts(tuple(float(value) for value in mean), points.from_validation)
    if own.task == "survival":
        training = own.table[own.table["split"] == "train"]
        cuts = training.groupby(["fold", "seed"])["risk"].quantile(config.risk_group_quantile)
        return Cuts(risk=float(cuts.mean()))
    return Cuts()
