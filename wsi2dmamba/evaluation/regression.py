"""Metrics of predicted numbers, each for many weightings of the patients at once."""

from __future__ import annotations

import numpy as np

from wsi2dmamba.evaluation.bootstrap import Floats, Metrics, ratio
from wsi2dmamba.evaluation.rows import Rows


class RegressionMetrics:
    """Mean absolute error, root mean squared error, R² and Pearson's r as a function of the patients' weights."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows

    def __call__(self, patients: Floats) -> Metrics:
        """Return every metric, (resamples,) each, for (resamples, patients) weights."""
        rows = self._rows
        weights = patients[:, rows.case]
        total = weights.sum(axis=1)
        error = rows.prediction - rows.target
        squared = ratio(weights @ error**2, total)
        # Centred first: the weighted variance is then stable for targets far from zero.
        target, prediction = rows.target - rows.target.mean(), rows.prediction - rows.prediction.mean()
        mean_target, mean_prediction = ratio(weights @ target, total), ratio(weights @ prediction, total)
        variance = ratio(weights @ target**2, total) - mean_target**2
        spread = ratio(weights @ prediction**2, total) - mean_prediction**2
        together = ratio(weights @ (target * prediction), total) - mean_target * mean_prediction
        return {
            "mae": ratio(weights @ np.abs(error), total),
            "rmse": np.sqrt(squared),
            "r2": 1.0 - ratio(squared, np.where(variance > 1e-12, variance, 0.0)),
            "pearson": ratio(together, np.sqrt(np.maximum(variance * spread, 0.0))),
        }
