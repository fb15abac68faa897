"""Settings of the evaluation stage: the `eval:` section of a run's YAML, and how a table names its columns."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from wsi2dmamba.core.validation import Settings


class EvalConfig(Settings):
    """How predictions are judged.

    Attributes
    ----------
    resamples
        Bootstrap resamples of the patients behind every interval.
    confidence
        Coverage of the intervals, e.g. 0.95.
    seed
        Seed of the resampling: the same predictions give the same intervals.
    threshold
        How the operating point of each class is chosen on the validation rows: ``"youden"`` maximises sensitivity +
        specificity − 1; a number is used as it is.
    calibration_bins
        Bins of equal width of the expected calibration error and the calibration curve.
    horizons
        Times (in the table's unit) of the time-dependent AUC; empty: the quartiles of the observed event times.
    risk_group_quantile
        Quantile of the training risks that splits patients into low and high risk.
    subgroups
        Columns of the predictions (or of the cohort table) whose values are judged apart, in the forest plot.
    mistakes
        How many of the most certain mistakes the report shows.
    """

    resamples: int = Field(default=1000, ge=20, le=100_000)
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    seed: int = Field(default=0, ge=0)
    threshold: Literal["youden"] | float = "youden"
    calibration_bins: int = Field(default=10, ge=2, le=100)
    horizons: tuple[float, ...] = ()
    risk_group_quantile: float = Field(default=0.5, gt=0.0, lt=1.0)
    subgroups: tuple[str, ...] = ()
    mistakes: int = Field(default=8, ge=0, le=100)


class TableColumns(Settings):
    """Names of the columns of a predictions table made by another tool; None means the usual name.

    Attributes
    ----------
    case, fold, seed, split, label, time, event, censorship, risk, target, prediction
        Column of each quantity of the predictions schema (docs/formats.md).
    probability_prefix
        What the columns of class probabilities begin with.
    """

    case: str | None = None
    fold: str | None = None
    seed: str | None = None
    split: str | None = None
    label: str | None = None
    time: str | None = None
    event: str | None = None
    censorship: str | None = None
    risk: str | None = None
    target: str | None = None
    prediction: str | None = None
    probability_prefix: str = "prob_"
