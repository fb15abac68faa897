"""Compare two systems on the same patients: differences with intervals, and tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsi2dmamba.core.errors import EvaluationError
from wsi2dmamba.evaluation.bootstrap import Floats, Interval, Metrics, interval, measure, patient_weights
from wsi2dmamba.evaluation.classification import ClassificationMetrics
from wsi2dmamba.evaluation.config import EvalConfig
from wsi2dmamba.evaluation.delong import auc_influence, delong_p_value
from wsi2dmamba.evaluation.judge import Judge
from wsi2dmamba.evaluation.regression import RegressionMetrics
from wsi2dmamba.evaluation.rows import Predictions, Rows
from wsi2dmamba.evaluation.survival import SurvivalMetrics


@dataclass(frozen=True)
class Difference:
    """One metric of two systems.

    Attributes
    ----------
    a, b
        The metric of each.
    difference
        a − b, with the paired bootstrap interval: both systems on the same resampled patients.
    p_value
        Two-sided; None where no test applies.
    test
        ``"DeLong"`` for the AUC, ``"permutation"`` otherwise.
    """

    a: Interval
    b: Interval
    difference: Interval
    p_value: float | None
    test: str


@dataclass(frozen=True)
class Comparison:
    """Two systems on the patients they share."""

    task: str
    patients: int
    metrics: dict[str, Difference]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "schema": "wsi2dmamba-comparison/1",
            "task": self.task,
            "patients": self.patients,
            "metrics": {
                name: {
                    "a": one.a.to_dict(),
                    "b": one.b.to_dict(),
                    "difference": one.difference.to_dict(),
                    "p_value": one.p_value,
                    "test": one.test,
                }
                for name, one in self.metrics.items()
            },
            "notes": list(self.notes),
        }


def compare(a: Predictions, b: Predictions, config: EvalConfig | None = None) -> Comparison:
    """Compare two systems, paired on patients.

    Parameters
    ----------
    a, b
        Predictions for the same task. Only test patients that both have are compared.
    config
        Resamples (also permutations), confidence, seed.

    Notes
    -----
    The permutation test swaps, patient by patient with probability ½, which system said what: exact under the null
    that the two are exchangeable. Risks are replaced by their ranks within fold and system first, since two systems
    share no scale. P = (1 + #{|d*| ≥ |d|}) / (1 + permutations).

    Raises
    ------
    EvaluationError
        If the tasks or classes differ, no patient is shared, or a patient's outcome differs.
    """
    config = config or EvalConfig()
    a, b, notes = _on_shared_patients(a, b)
    judges = Judge(a, config), Judge(b, config)
    patients = len(judges[0].test.case_ids)
    weights = patient_weights(patients, config.resamples, config.seed)
    values_a, values_b = (measure(judge.metrics_of(judge.test), weights) for judge in judges)
    chance = _permutation_p_values(judges, config) if _same_seeds(judges) else {}
    if not chance:
        notes.append("the two were trained with different seeds: permutation tests do not apply")
    metrics = {}
    for name in [name for name in values_a if name in values_b]:
        test, p_value = "permutation", chance.get(name)
        if name.partition("/")[0] == "auc":
            test, p_value = "DeLong", _delong(judges, name)
        metrics[name] = Difference(
            interval(values_a[name], config.confidence),
            interval(values_b[name], config.confidence),
            interval(values_a[name] - values_b[name], config.confidence),
            p_value,
            test,
        )
    return Comparison(a.task, patients, metrics, tuple(notes))


def _on_shared_patients(a: Predictions, b: Predictions) -> tuple[Predictions, Predictions, list[str]]:
    if a.task != b.task:
        raise EvaluationError(f"a {a.task} and a {b.task} cannot be compared")
    if set(a.class_names) != set(b.class_names):
        raise EvaluationError(f"the classes differ: {', '.join(a.class_names)} in A, {', '.join(b.class_names)} in B")
    b = replace(b, class_names=a.class_names)
    tests = [one.table[one.table["split"] == "test"] for one in (a, b)]
    shared = set(tests[0]["case_id"]) & set(tests[1]["case_id"])
    if not shared:
        raise EvaluationError("the two have no test patient in common (are the case ids written alike?)")
    notes = []
    for name, test in zip("AB", tests, strict=True):
        alone = test["case_id"].nunique() - len(shared)
        if alone:
            notes.append(f"{alone} test patients of {name} are not in the other and are left out")
    a, b = (_only(one, shared) for one in (a, b))
    _check_same_outcomes(a, b)
    folds = [one.table[one.table["split"] == "test"].groupby("case_id")["fold"].agg(frozenset) for one in (a, b)]
    if not folds[0].equals(folds[1]):
        notes.append("the two were split into folds differently: part of the difference is the split")
    return a, b, notes


def _only(one: Predictions, cases: set[str]) -> Predictions:
    table = one.table[(one.table["split"] != "test") | one.table["case_id"].isin(cases)]
    # Sorted by patient: both systems then number their patients alike.
    return replace(one, table=table.sort_values("case_id", kind="stable").reset_index(drop=True))


def _check_same_outcomes(a: Predictions, b: Predictions) -> None:
    names = [name for name in ("label", "time", "event", "target") if name in a.table]
    first, second = (
        one.table[one.table["split"] == "test"].drop_duplicates("case_id").set_index("case_id")[names] for one in (a, b)
    )
    for name in names:
        left, right = first[name], second[name]
        same = left == right if name in ("label", "event") else pd.Series(np.isclose(left, right), index=left.index)
        if not same.all():
            case = same.index[~same][0]
            raise EvaluationError(
                f"{int((~same).sum())} patients have another {name} in B than in A, the first {case!r} "
                f"({left[case]} and {right[case]})"
            )


def _delong(judges: tuple[Judge, Judge], name: str) -> float | None:
    names = judges[0].predictions.class_names
    part = name.partition("/")[2]
    if part:
        classes = [names.index(part)]
    else:
        classes = [1] if len(names) == 2 else list(range(len(names)))
    (auc_a, influence_a), (auc_b, influence_b) = (auc_influence(judge.test, classes) for judge in judges)
    if not np.isfinite(auc_a - auc_b):
        return None
    return delong_p_value(auc_a - auc_b, influence_a, influence_b)


def _same_seeds(judges: tuple[Judge, Judge]) -> bool:
    return set(judges[0].test.seed) == set(judges[1].test.seed)


def _permutation_p_values(judges: tuple[Judge, Judge], config: EvalConfig) -> dict[str, float]:
    """Swap the two systems' rows of random patients; a system then is a 0/1 weighting of both systems' rows."""
    patients = len(judges[0].test.case_ids)
    swap = np.random.default_rng(config.seed).random((config.resamples + 1, patients)) < 0.5
    swap[0] = False
    metrics = _stacked_metrics(judges)
    first = measure(metrics, np.hstack([~swap, swap]).astype(np.float64))
    second = measure(metrics, np.hstack([swap, ~swap]).astype(np.float64))
    p_values = {}
    for name in first:
        difference = first[name] - second[name]
        if not np.isfinite(difference[0]):
            continue
        drawn = difference[1:][np.isfinite(difference[1:])]
        as_far = int((np.abs(drawn) >= abs(difference[0]) - 1e-12).sum())
        p_values[name] = (1 + as_far) / (1 + len(drawn))
    return p_values


def _stacked_metrics(judges: tuple[Judge, Judge]) -> Callable[[Floats], Metrics]:
    """Return the metrics of both systems' rows together: patient k of A is k, of B it is k + patients."""
    a, b = judges
    patients = len(a.test.case_ids)
    parts: list[Callable[[Floats], Metrics]] = []
    for seed in np.unique(a.test.seed):
        of_a, of_b = a.test.only(a.test.seed == seed), b.test.only(b.test.seed == seed)
        rows = _stack(of_a, of_b, patients, with_survival=a.predictions.survival_times == b.predictions.survival_times)
        if a.points is not None and b.points is not None:
            called = np.concatenate([a.points.called_positive(of_a), b.points.called_positive(of_b)])
            ordinal = a.predictions.task == "ordinal"
            names, bins = a.predictions.class_names, a.config.calibration_bins
            parts.append(ClassificationMetrics(rows, names, called, bins, ordinal))
        elif a.follow_up is not None:
            times = a.predictions.survival_times if rows.survival.shape[1] else ()
            parts.append(SurvivalMetrics(rows, a.follow_up, a.horizons, times))
        else:
            parts.append(RegressionMetrics(rows))

    def mean_over_seeds(weights: Floats) -> Metrics:
        measured = [part(weights) for part in parts]
        return {name: np.mean([metrics[name] for metrics in measured], axis=0) for name in measured[0]}

    return mean_over_seeds


def _stack(a: Rows, b: Rows, patients: int, *, with_survival: bool) -> Rows:
    def both(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(a, name), getattr(b, name)])

    names = ("fold", "seed", "label", "probability", "time", "event", "target", "prediction", "high", "risk_sd")
    none = np.empty((len(a) + len(b), 0))
    return Rows(
        case=np.concatenate([a.case, b.case + patients]),
        case_ids=(*a.case_ids, *b.case_ids),
        risk=np.concatenate([_ranks_in_fold(a), _ranks_in_fold(b)]),
        survival=both("survival") if with_survival else none,
        **{name: both(name) for name in names},
    )


def _ranks_in_fold(rows: Rows) -> Floats:
    if not len(rows.risk):
        return rows.risk
    ranks = pd.Series(rows.risk).groupby(rows.fold).rank(pct=True)
    return np.asarray(ranks, dtype=np.float64)
