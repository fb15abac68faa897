"""Patient-clustered bootstrap: resampled patients are integer weights, so every metric is computed once, on arrays.

A resample draws as many patients as there are, with replacement (Efron & Tibshirani 1993, ch. 6; patients are the
clusters, ch. 8). A patient drawn k times weighs k, with all its rows. Metrics take (resamples, rows) weights and
return one value per resample, which equals what scikit-learn returns for the repeated rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Metrics = dict[str, Floats]
# A block of weights stays near the caches: larger blocks are slower, not only bigger.
_BLOCK_ELEMENTS = 1_000_000
_DEFINED_SHARE = 0.5


@dataclass(frozen=True)
class Interval:
    """A metric with its bootstrap interval; None where it is not defined.

    Attributes
    ----------
    estimate
        The metric on the patients as they are.
    lower, upper
        Percentile interval.
    resamples
        How many resamples defined the metric (a resample can lack a class); below half there is no interval.
    """

    estimate: float | None
    lower: float | None = None
    upper: float | None = None
    resamples: int = 0

    def to_dict(self) -> dict[str, float | int | None]:
        """Return it for JSON."""
        return {
            "estimate": self.estimate,
            "lower": self.lower,
            "upper": self.upper,
            "resamples": self.resamples,
        }


def patient_weights(patients: int, resamples: int, seed: int) -> Floats:
    """Return (1 + resamples, patients) weights: a first row of ones, then how often each patient was drawn."""
    rng = np.random.default_rng(seed)
    weights = np.ones((resamples + 1, patients))
    for row in range(1, resamples + 1):
        weights[row] = np.bincount(rng.integers(0, patients, patients), minlength=patients)
    return weights


def measure(metrics: Callable[[Floats], Metrics], weights: Floats) -> Metrics:
    """Return every metric for every row of `weights`, going through them in blocks."""
    rows_per_block = max(1, _BLOCK_ELEMENTS // max(1, weights.shape[1]))
    parts = [metrics(weights[start : start + rows_per_block]) for start in range(0, len(weights), rows_per_block)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def interval(values: Floats, confidence: float) -> Interval:
    """Return the estimate `values[0]` with the percentile interval of the resamples `values[1:]`."""
    estimate = float(values[0])
    drawn = values[1:]
    drawn = drawn[np.isfinite(drawn)]
    if not np.isfinite(estimate):
        return Interval(None, resamples=len(drawn))
    if len(drawn) < _DEFINED_SHARE * (len(values) - 1) or not len(drawn):
        return Interval(estimate, resamples=len(drawn))
    tail = (1.0 - confidence) / 2.0
    lower, upper = np.quantile(drawn, [tail, 1.0 - tail])
    return Interval(estimate, float(lower), float(upper), len(drawn))


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Return numerator / denominator, NaN where the denominator is zero."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(denominator > 0, numerator / denominator, np.nan), dtype=np.float64)
