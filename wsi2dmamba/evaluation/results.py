"""What an evaluation found, and its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from wsi2dmamba.evaluation.bootstrap import Interval
from wsi2dmamba.evaluation.catalogue import HEADLINES
from wsi2dmamba.evaluation.config import EvalConfig
from wsi2dmamba.evaluation.rows import Predictions, Task

SCHEMA = "wsi2dmamba-metrics/1"


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of a metric over seeds or folds (SD None with fewer than two)."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class RiskGroups:
    """Low- and high-risk groups, split at a risk fixed before the test rows were seen.

    Attributes
    ----------
    fixed_on
        ``"train"``, ``"validation"``, or ``"test"`` when the table has no other rows: then the split is only
        exploratory.
    log_rank_statistic, log_rank_p
        Log-rank test of the two groups (χ², one degree of freedom), one row for each patient.
    hazard_ratio
        High against low risk, Cox regression, baseline hazard by fold; Wald interval. (The bootstrap interval is
        that of the metric `hazard_ratio`.)
    hazard_ratio_per_sd
        The same for one standard deviation of the risk within its fold.
    low, high
        Patients and events in each group.
    """

    fixed_on: str
    log_rank_statistic: float | None
    log_rank_p: float | None
    hazard_ratio: Interval
    hazard_ratio_per_sd: Interval
    low: tuple[int, int]
    high: tuple[int, int]


@dataclass(frozen=True)
class Evaluation:
    """The metrics of one system with their intervals.

    Attributes
    ----------
    predictions
        What was judged.
    config
        How.
    pooled
        Metric → interval, all test rows out of fold, averaged over seeds.
    folds
        Fold → metric → interval.
    seeds
        Seed → metric → value, all folds.
    over_seeds, over_folds
        Mean and SD.
    patients, events
        Judged patients, and events among them (None outside survival).
    risk_groups, fold_groups
        Of a survival task: all patients, and those of each fold.
    horizon
        τ of the censoring-weighted metrics; None outside survival.
    notes
        What to read with the numbers.
    """

    predictions: Predictions
    config: EvalConfig
    pooled: Mapping[str, Interval]
    folds: Mapping[int, Mapping[str, Interval]]
    seeds: Mapping[int, Mapping[str, float | None]]
    over_seeds: Mapping[str, Spread]
    over_folds: Mapping[str, Spread]
    patients: int
    events: int | None = None
    risk_groups: RiskGroups | None = None
    fold_groups: Mapping[int, RiskGroups] = field(default_factory=dict)
    horizon: float | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def task(self) -> Task:
        """What was predicted."""
        return self.predictions.task

    @property
    def headline(self) -> str:
        """Name of the metric that the task is judged by first."""
        return HEADLINES[self.task][0]

    def to_dict(self) -> dict[str, Any]:
        """Return it for metrics.json (docs/formats.md)."""

        def intervals(metrics: Mapping[str, Interval]) -> dict[str, Any]:
            return {name: value.to_dict() for name, value in metrics.items()}

        def spreads(metrics: Mapping[str, Spread]) -> dict[str, Any]:
            return {name: {"mean": value.mean, "sd": value.sd, "n": value.n} for name, value in metrics.items()}

        return {
            "schema": SCHEMA,
            "task": self.task,
            "headline": self.headline,
            "classes": list(self.predictions.class_names),
            "patients": self.patients,
            "events": self.events,
            "horizon": self.horizon,
            "config": self.config.model_dump(mode="json"),
            "pooled": intervals(self.pooled),
            "folds": {str(fold): intervals(metrics) for fold, metrics in self.folds.items()},
            "seeds": {str(seed): dict(metrics) for seed, metrics in self.seeds.items()},
            "over_seeds": spreads(self.over_seeds),
            "over_folds": spreads(self.over_folds),
            "risk_groups": _risk_groups(self.risk_groups),
            "fold_groups": {str(fold): _risk_groups(groups) for fold, groups in self.fold_groups.items()},
            "notes": list(self.notes),
        }


def _risk_groups(groups: RiskGroups | None) -> dict[str, Any] | None:
    if groups is None:
        return None
    return {
        "fixed_on": groups.fixed_on,
        "log_rank_statistic": groups.log_rank_statistic,
        "log_rank_p": groups.log_rank_p,
        "hazard_ratio": groups.hazard_ratio.to_dict(),
        "hazard_ratio_per_sd": groups.hazard_ratio_per_sd.to_dict(),
        "low": {"patients": groups.low[0], "events": groups.low[1]},
        "high": {"patients": groups.high[0], "events": groups.high[1]},
    }
