"""Metrics of survival predictions, each for many weightings of the patients at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from lifelines import KaplanMeierFitter
from numpy.typing import NDArray
from scipy.integrate import trapezoid

from wsi2dmamba.evaluation.bootstrap import Floats, Metrics, ratio
from wsi2dmamba.evaluation.concordance import Concordance
from wsi2dmamba.evaluation.hazards import PartialLikelihood
from wsi2dmamba.evaluation.ranking import pair_auc
from wsi2dmamba.evaluation.rows import Rows

AT_RISK_SHARE = 0.1
GRID_POINTS = 101


@dataclass(frozen=True)
class FollowUp:
    """What inverse-probability-of-censoring weights need, fixed once for all resamples.

    Attributes
    ----------
    censoring
        Kaplan–Meier fit of the time to censoring, Ĝ, over the judged patients.
    horizon
        τ: the last time at which a tenth of the patients are still under observation. Beyond it the weights 1/Ĝ
        rest on a handful of patients.
    """

    censoring: KaplanMeierFitter
    horizon: float

    @classmethod
    def of(cls, rows: Rows) -> FollowUp:
        """Fit it on one row for each patient."""
        _, first = np.unique(rows.case, return_index=True)
        time, event = rows.time[first], rows.event[first]
        fitter = KaplanMeierFitter().fit(time, ~event)
        return cls(fitter, float(np.quantile(time, 1.0 - AT_RISK_SHARE, method="lower")))

    def still_observed(self, times: Floats) -> Floats:
        """Return Ĝ(t), the probability of not being censored by t."""
        return np.asarray(self.censoring.survival_function_at_times(times).to_numpy(), dtype=np.float64)

    def still_observed_before(self, times: Floats) -> Floats:
        """Return Ĝ(t−): a case whose event is at t was observed if its censoring did not come before t."""
        return self.still_observed(np.nextafter(times, -np.inf))


def default_horizons(rows: Rows, follow_up: FollowUp) -> tuple[float, ...]:
    """Return the quartiles of the event times before the horizon, rounded to three digits."""
    times = rows.time[rows.event & (rows.time <= follow_up.horizon)]
    if not len(times):
        return ()
    return tuple(sorted({float(f"{value:.3g}") for value in np.quantile(times, [0.25, 0.5, 0.75])}))


class SurvivalMetrics:
    """Every survival metric of some rows, as a function of the patients' weights.

    Parameters
    ----------
    rows
        Rows of one seed.
    follow_up
        Censoring distribution and horizon.
    horizons
        Times of the time-dependent AUC.
    survival_times
        The t of the rows' survival probabilities; empty leaves the integrated Brier score out.
    """

    def __init__(
        self, rows: Rows, follow_up: FollowUp, horizons: tuple[float, ...], survival_times: tuple[float, ...]
    ) -> None:
        self._rows, self._follow_up, self._horizons = rows, follow_up, horizons
        self._pairs = Concordance(rows.time, rows.event, rows.risk, rows.fold)
        observed = np.maximum(follow_up.still_observed_before(rows.time), 1e-12)
        self._inverse = 1.0 / observed
        self._uno = np.where(rows.time < follow_up.horizon, self._inverse**2, 0.0)
        self._hazards = {
            name: PartialLikelihood(rows.time, rows.event, covariate.astype(np.float64), rows.fold)
            for name, covariate in (("hazard_ratio", rows.high), ("hazard_ratio_per_sd", rows.risk_sd))
            if len(covariate)
        }
        self._losses = brier_losses(rows, np.asarray(survival_times), follow_up) if len(survival_times) else np.empty(0)

    def __call__(self, patients: Floats) -> Metrics:
        """Return every metric, (resamples,) each, for (resamples, patients) weights."""
        weights = patients[:, self._rows.case]
        harrell, uno = self._pairs.measure(weights, self._uno)
        metrics = {"c_index": harrell, "c_index_uno": uno}
        aucs = [self._auc_at(horizon, weights) for horizon in self._horizons]
        if aucs:
            metrics["auc_t"] = np.mean(aucs, axis=0)
            metrics |= {f"auc_t/{h:g}": auc for h, auc in zip(self._horizons, aucs, strict=True)}
        for name, likelihood in self._hazards.items():
            metrics[name] = np.exp(likelihood.log_ratio(weights))
        if len(self._losses):
            metrics["integrated_brier"] = ratio(weights @ self._losses, weights.sum(axis=1))
        return metrics

    def _auc_at(self, horizon: float, weights: Floats) -> Floats:
        """Cumulative/dynamic AUC at t: events by t against patients still event-free (Uno et al., JASA 2007)."""
        rows = self._rows
        cases = rows.event & (rows.time <= horizon)
        controls = rows.time > horizon
        return pair_auc(rows.risk, weights * (cases * self._inverse), weights * controls, rows.fold)


def brier_losses(rows: Rows, survival_times: Floats, follow_up: FollowUp) -> Floats:
    """Return (n,) each row's share of the integrated Brier score, (1/τ) ∫₀^τ BS(t) dt (Graf et al., Stat Med 1999).

    The Brier score at t is the mean of Ŝ(t)²·1(T ≤ t, event)/Ĝ(T−) + (1 − Ŝ(t))²·1(T > t)/Ĝ(t). Predicted
    survival is linear between Ŝ(0) = 1 and the columns a row fills. The integral ends at the horizon of the
    follow-up, or at the last column that every row fills if that comes first.

    Parameters
    ----------
    rows
        Rows with (n, times) survival probabilities, NaN in the columns of other folds.
    survival_times
        (times,) the t of the columns.
    follow_up
        Ĝ and τ.

    Returns
    -------
    ndarray
        (n,), or empty if no column is filled by every row.
    """
    everywhere = survival_times[np.isfinite(rows.survival).all(axis=0)]
    if not len(everywhere) or everywhere.max() <= 0:
        return np.empty(0)
    # Where a model says nothing it is not judged: the integral ends at its last column.
    horizon = min(follow_up.horizon, float(everywhere.max()))
    grid = np.linspace(0.0, horizon, GRID_POINTS)
    predicted = np.stack([_interpolate(grid, survival_times, row) for row in rows.survival])
    return np.asarray(trapezoid(brier_at(rows, predicted, grid, follow_up), grid, axis=1) / horizon)


def brier_at(rows: Rows, predicted: Floats, times: Floats, follow_up: FollowUp) -> Floats:
    """Return (n, times) each row's share of the Brier score at each time.

    Parameters
    ----------
    rows
        Whom it is about.
    predicted
        (n, times) survival probabilities.
    times
        (times,).
    follow_up
        Ĝ.
    """
    weight_event = 1.0 / np.maximum(follow_up.still_observed_before(rows.time), 1e-12)
    weight_alive = 1.0 / np.maximum(follow_up.still_observed(times), 1e-12)
    passed = rows.time[:, None] <= times[None, :]
    dead = passed & rows.event[:, None]
    losses = predicted**2 * dead * weight_event[:, None] + (1.0 - predicted) ** 2 * ~passed * weight_alive[None, :]
    return np.asarray(losses)


def _interpolate(grid: Floats, times: Floats, survival: NDArray[np.float64]) -> Floats:
    filled = np.isfinite(survival) & (times > 0)
    return np.interp(grid, np.append(0.0, times[filled]), np.append(1.0, survival[filled]))
