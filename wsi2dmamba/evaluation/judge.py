"""Judge predictions: every metric per fold, pooled out of fold, and over seeds, each with its interval.

How folds are joined. A fold's model has a scale of its own, so ranks of patients of different folds mean little:
pooling their scores biases the AUC downwards (Forman & Scholz, SIGKDD Explorations 2010; Airola et al., CSDA 2011).
The AUC, the C-indices and the time-dependent AUC are therefore taken over the pairs of patients of one fold, all
folds' pairs together. Metrics of single patients (accuracy, Brier, absolute error, …) are taken over all patients.
Several seeds are judged one by one, and the pooled value is their mean: the interval speaks of the patients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from wsi2dmamba.evaluation.bootstrap import Floats, Interval, Metrics, interval, measure, patient_weights
from wsi2dmamba.evaluation.catalogue import describe
from wsi2dmamba.evaluation.classification import ClassificationMetrics, OperatingPoints, choose_operating_points
from wsi2dmamba.evaluation.config import EvalConfig, TableColumns
from wsi2dmamba.evaluation.predictions import read_predictions
from wsi2dmamba.evaluation.regression import RegressionMetrics
from wsi2dmamba.evaluation.results import Evaluation, Spread
from wsi2dmamba.evaluation.riskgroups import compare_groups, split_by_risk, with_groups
from wsi2dmamba.evaluation.rows import Predictions, Rows, Task
from wsi2dmamba.evaluation.survival import FollowUp, SurvivalMetrics, default_horizons

MetricsOf = Callable[[Rows], Callable[[Floats], Metrics]]


def evaluate(
    predictions: Predictions | pd.DataFrame | Path | Sequence[Path],
    config: EvalConfig | None = None,
    *,
    columns: TableColumns | None = None,
    task: Task | None = None,
) -> Evaluation:
    """Judge the test rows of a predictions table.

    Parameters
    ----------
    predictions
        A checked table, or what `read_predictions` takes.
    config
        Resamples, confidence, seed, thresholds.
    columns, task
        As in `read_predictions`.

    Raises
    ------
    EvaluationError
        If the table cannot be judged.
    """
    config = config or EvalConfig()
    checked = predictions if isinstance(predictions, Predictions) else read_predictions(predictions, columns, task)
    judge = Judge(checked, config)
    rows = judge.test
    pooled = judge.intervals(rows)
    folds = {int(fold): judge.intervals(rows.where(rows.fold == fold)) for fold in np.unique(rows.fold)}
    seeds = {int(seed): judge.values(rows.where(rows.seed == seed)) for seed in np.unique(rows.seed)}
    survival = checked.task == "survival"
    parts = {fold: rows.where(rows.fold == fold) for fold in folds} if survival else {}
    return Evaluation(
        predictions=checked,
        config=config,
        pooled=pooled,
        folds=folds,
        seeds=seeds,
        over_seeds=_spread(list(seeds.values())),
        over_folds=_spread([{name: value.estimate for name, value in fold.items()} for fold in folds.values()]),
        patients=len(rows.case_ids),
        events=_events(rows) if survival else None,
        risk_groups=compare_groups(rows, judge.cut_fixed_on, config.confidence) if survival else None,
        fold_groups={k: compare_groups(part, judge.cut_fixed_on, config.confidence) for k, part in parts.items()},
        horizon=judge.follow_up.horizon if judge.follow_up else None,
        notes=(*checked.notes, *judge.notes, *_fold_notes(folds), *_limit_notes(pooled)),
    )


class Judge:
    """What must be fixed once, before any part of the test rows is measured: thresholds, censoring, horizons.

    Parameters
    ----------
    predictions
        A checked table.
    config
        How to judge it.
    """

    def __init__(self, predictions: Predictions, config: EvalConfig) -> None:
        self.predictions, self.config = predictions, config
        self.test = predictions.rows("test")
        self.follow_up: FollowUp | None = None
        self.points: OperatingPoints | None = None
        self.horizons: tuple[float, ...] = ()
        self.cut_fixed_on = ""
        self.notes: tuple[str, ...] = ()
        if predictions.task in ("classification", "ordinal"):
            validation = predictions.rows("validation")
            self.points = choose_operating_points(self.test, validation, config.threshold, predictions.cuts)
            if config.threshold == "youden" and not self.points.from_validation:
                self.notes = (
                    "no validation rows of both kinds in every fold: there sensitivity and specificity are at 0.5",
                )
        elif predictions.task == "survival":
            high, self.cut_fixed_on = split_by_risk(predictions, config.risk_group_quantile)
            self.test = with_groups(self.test, high)
            self.follow_up = FollowUp.of(self.test)
            self.horizons = config.horizons or default_horizons(self.test, self.follow_up)

    def metrics_of(self, rows: Rows) -> Callable[[Floats], Metrics]:
        """Return the metrics of some rows as a function of their patients' weights, averaged over seeds."""
        parts = [self._of_one_seed(rows, seed) for seed in np.unique(rows.seed)]

        def mean_over_seeds(patients: Floats) -> Metrics:
            measured = [part(patients) for part in parts]
            return {name: np.mean([metrics[name] for metrics in measured], axis=0) for name in measured[0]}

        return mean_over_seeds

    def intervals(self, rows: Rows) -> dict[str, Interval]:
        """Return every metric of some rows with its bootstrap interval over their patients."""
        weights = patient_weights(len(rows.case_ids), self.config.resamples, self.config.seed)
        return {
            name: interval(values, self.config.confidence)
            for name, values in measure(self.metrics_of(rows), weights).items()
        }

    def values(self, rows: Rows) -> dict[str, float | None]:
        """Return every metric of some rows, without interval."""
        measured = self.metrics_of(rows)(np.ones((1, len(rows.case_ids))))
        return {name: float(value[0]) if np.isfinite(value[0]) else None for name, value in measured.items()}

    def _of_one_seed(self, rows: Rows, seed: int) -> Callable[[Floats], Metrics]:
        chosen = rows.seed == seed
        part = rows if chosen.all() else rows.only(chosen)
        if self.points is not None:
            names = self.predictions.class_names
            ordinal = self.predictions.task == "ordinal"
            called = self.points.called_positive(part)
            return ClassificationMetrics(part, names, called, self.config.calibration_bins, ordinal)
        if self.follow_up is not None:
            return SurvivalMetrics(part, self.follow_up, self.horizons, self.predictions.survival_times)
        return RegressionMetrics(part)


def _spread(parts: Sequence[dict[str, float | None]]) -> dict[str, Spread]:
    spreads = {}
    for name in {name: None for part in parts for name in part}:
        values = [value for part in parts if (value := part.get(name)) is not None]
        if values:
            sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
            spreads[name] = Spread(float(np.mean(values)), sd, len(values))
    return spreads


def _events(rows: Rows) -> int:
    _, first = np.unique(rows.case, return_index=True)
    return int(rows.event[first].sum())


def _limit_notes(pooled: dict[str, Interval]) -> list[str]:
    """A bootstrap cannot draw what it has not seen: without one mistake there is none in any resample."""
    at_limit = [describe(n).title for n, v in pooled.items() if v.estimate is not None and v.lower == v.upper == 1.0]
    if not at_limit:
        return []
    return [
        f"{', '.join(at_limit)}: perfect on these patients; a bootstrap interval without width overstates certainty"
    ]


def _fold_notes(folds: dict[int, dict[str, Interval]]) -> list[str]:
    notes = []
    for headline, why in (("auc", "lacks a class"), ("c_index", "has no comparable pair of patients")):
        empty = [fold for fold, metrics in folds.items() if headline in metrics and metrics[headline].estimate is None]
        if empty:
            named = ", ".join(map(str, empty))
            notes.append(f"fold {named} {why} among its test patients: its ranking metrics are not defined")
    return notes
