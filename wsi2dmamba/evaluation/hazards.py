"""Hazard ratios of one covariate for many weightings of the patients at once, so that they can be bootstrapped."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.evaluation.bootstrap import Floats

_STEPS = 25
_LARGEST = 15.0
"""Log hazard ratios beyond ±15 have no finite estimate: the covariate parts events from non-events."""


class PartialLikelihood:
    """Cox's partial likelihood of one covariate, baseline hazard by stratum, ties as Efron (JASA 1977).

    Parameters
    ----------
    time, event, covariate
        (n,) follow-up, whether the event was seen, and the covariate.
    stratum
        (n,) int, the fold.

    Notes
    -----
    With weights of one, the estimate is that of `lifelines.CoxPHFitter`. A row of weight w is w rows; of events tied
    at one time, the k-th takes part in the risk set less the share of the tied weight that came before it.
    """

    def __init__(self, time: Floats, event: NDArray[np.bool_], covariate: Floats, stratum: NDArray[np.int64]) -> None:
        # Latest first: the patients at risk at a row are then the rows before it, up to the end of its tied times.
        self._strata = [
            rows[np.lexsort((event[rows], -time[rows]))]
            for rows in (np.flatnonzero(stratum == k) for k in np.unique(stratum))
            if event[rows].any()
        ]
        self._time, self._event = time, event
        self._covariate = covariate - covariate.mean() if len(covariate) else covariate

    def log_ratio(self, weights: Floats) -> Floats:
        """Return (resamples,) log hazard ratios per unit of the covariate, NaN where there is no finite estimate.

        Parameters
        ----------
        weights
            (resamples, n).
        """
        beta = np.zeros(len(weights))
        for _ in range(_STEPS):
            slope, curvature = self._derivatives(beta, weights)
            step = np.divide(slope, curvature, out=np.zeros_like(slope), where=curvature > 1e-12)
            # Newton's steps are bounded: far from the maximum the curvature promises too much.
            beta = np.clip(beta + np.clip(step, -1.5, 1.5), -_LARGEST, _LARGEST)
            if np.abs(step).max(initial=0.0) < 1e-10:
                break
        flat = self._derivatives(beta, weights)[1] <= 1e-12
        return np.where(flat | (np.abs(beta) >= _LARGEST), np.nan, beta)

    def _derivatives(self, beta: Floats, weights: Floats) -> tuple[Floats, Floats]:
        slope, curvature = np.zeros(len(weights)), np.zeros(len(weights))
        for rows in self._strata:
            x, time, event = self._covariate[rows], self._time[rows], self._event[rows]
            weight = weights[:, rows]
            relative = weight * np.exp(beta[:, None] * x)
            moments = [relative, relative * x, relative * x**2]
            ends = np.append(np.flatnonzero(np.diff(time) != 0), len(rows) - 1)
            end_of_tie = ends[np.searchsorted(ends, np.arange(len(rows)))]
            deaths = weight * event
            at_risk = [np.cumsum(moment, axis=1)[:, end_of_tie] for moment in moments]
            if len(np.unique(time[event])) < event.sum():
                gone = _share_gone(deaths, time)
                at_risk = [
                    sums - gone * _sum_in_ties(moment * event, time)
                    for sums, moment in zip(at_risk, moments, strict=True)
                ]
            total = np.where(at_risk[0] > 0, at_risk[0], 1.0)
            mean = at_risk[1] / total
            slope += (deaths * (x - mean)).sum(axis=1)
            curvature += (deaths * (at_risk[2] / total - mean**2)).sum(axis=1)
        return slope, curvature


def _sum_in_ties(values: Floats, time: Floats) -> Floats:
    """Return, for every column, the sum over the columns of the same time (times are sorted)."""
    starts = np.flatnonzero(np.append(True, np.diff(time) != 0))
    sums = np.add.reduceat(values, starts, axis=1)
    return np.asarray(np.repeat(sums, np.diff(np.append(starts, len(time))), axis=1))


def _share_gone(deaths: Floats, time: Floats) -> Floats:
    """Return the share of the weight of the events tied with each column that lies before it."""
    before = np.cumsum(deaths, axis=1) - deaths
    starts = np.flatnonzero(np.append(True, np.diff(time) != 0))
    at_start = np.repeat(before[:, starts], np.diff(np.append(starts, len(time))), axis=1)
    total = _sum_in_ties(deaths, time)
    return np.asarray(np.where(total > 0, (before - at_start) / np.where(total > 0, total, 1.0), 0.0))
