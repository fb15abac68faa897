"""ROC, precision–recall and calibration curves with bootstrap bands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.evaluation.bootstrap import Floats, patient_weights, ratio
from wsi2dmamba.evaluation.rows import Rows

GRID = np.linspace(0.0, 1.0, 201)
_BAND_RESAMPLES = 400


@dataclass(frozen=True)
class Curve:
    """y over x with a pointwise bootstrap band."""

    x: Floats
    y: Floats
    lower: Floats
    upper: Floats


def roc_curve_with_band(rows: Rows, of_class: int, confidence: float, resamples: int, seed: int) -> Curve:
    """Return the folds' ROC curves averaged at equal false positive rates, weighted by their numbers of pairs.

    The area under this average is the AUC over the pairs within folds (and seeds), the one that is reported.

    Parameters
    ----------
    rows
        Test rows.
    of_class
        Number of the positive class.
    confidence, resamples, seed
        Of the band; at most 400 resamples are drawn, which a drawn band does not outgrow.
    """
    weights = patient_weights(len(rows.case_ids), min(resamples, _BAND_RESAMPLES), seed)
    total, pairs = np.zeros((len(weights), len(GRID))), np.zeros(len(weights))
    for _, part in _models(rows):
        truth = part.label == of_class
        true_rate, positives, negatives = _roc(part.probability[:, of_class], truth, weights[:, part.case])
        here = positives * negatives
        total += here[:, None] * np.where(here[:, None] > 0, true_rate, 0.0)
        pairs += here
    return _with_band(GRID, ratio(total, pairs[:, None]), confidence)


def precision_recall_with_band(rows: Rows, of_class: int, confidence: float, resamples: int, seed: int) -> Curve:
    """Return precision over recall, scores of all folds pooled, averaged over seeds."""
    weights = patient_weights(len(rows.case_ids), min(resamples, _BAND_RESAMPLES), seed)
    seeds = np.unique(rows.seed)
    curves = np.zeros((len(weights), len(GRID)))
    for one in seeds:
        part = rows.only(rows.seed == one)
        curves += _precision(part.probability[:, of_class], part.label == of_class, weights[:, part.case])
    return _with_band(GRID, curves / len(seeds), confidence)


def calibration_table(
    probability: Floats, truth: NDArray[np.bool_], case: NDArray[np.int64], bins: int, confidence: float, seed: int
) -> dict[str, Floats]:
    """Return, for each bin that holds rows: mean probability, observed share with interval, and rows.

    Parameters
    ----------
    probability, truth, case
        (n,) predicted probability of a class, whether it was that class, and the patient's number.
    bins
        Bins of equal width on [0, 1].
    confidence, seed
        Of the patient-clustered bootstrap interval.
    """
    bin_of = np.minimum((probability * bins).astype(int), bins - 1)
    one_hot = np.eye(bins)[bin_of]
    weights = patient_weights(int(case.max()) + 1, _BAND_RESAMPLES, seed)[:, case]
    count = weights @ one_hot
    observed = ratio(weights @ (one_hot * truth[:, None]), count)
    filled = count[0] > 0
    with np.errstate(invalid="ignore"):
        tail = (1 - confidence) / 2
        lower, upper = np.nanquantile(observed[1:][:, filled], [tail, 1 - tail], axis=0)
    return {
        "predicted": (one_hot.T @ probability)[filled] / count[0][filled],
        "observed": observed[0][filled],
        "lower": lower,
        "upper": upper,
        "rows": count[0][filled],
    }


def _models(rows: Rows) -> list[tuple[tuple[int, int], Rows]]:
    keys = sorted({(int(f), int(s)) for f, s in zip(rows.fold, rows.seed, strict=True)})
    return [((fold, seed), rows.only((rows.fold == fold) & (rows.seed == seed))) for fold, seed in keys]


def _sums_from_the_top(score: Floats, weights: Floats) -> Floats:
    """Running weight above each distinct score, from the highest; starts at zero."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    sums = np.cumsum(weights[:, order], axis=1)[:, ends]
    return np.concatenate([np.zeros((len(weights), 1)), sums], axis=1)


def _roc(score: Floats, truth: NDArray[np.bool_], weights: Floats) -> tuple[Floats, Floats, Floats]:
    hits, alarms = _sums_from_the_top(score, weights * truth), _sums_from_the_top(score, weights * ~truth)
    positives, negatives = hits[:, -1], alarms[:, -1]
    true_rate = np.zeros((len(weights), len(GRID)))
    for k in np.flatnonzero((positives > 0) & (negatives > 0)):
        true_rate[k] = np.interp(GRID, alarms[k] / negatives[k], hits[k] / positives[k])
    true_rate[:, 0] = 0.0  # every curve begins in the corner; the vertical first step ends at the next grid point
    return true_rate, positives, negatives


def _precision(score: Floats, truth: NDArray[np.bool_], weights: Floats) -> Floats:
    hits, taken = _sums_from_the_top(score, weights * truth), _sums_from_the_top(score, weights)
    curves = np.full((len(weights), len(GRID)), np.nan)
    precision = ratio(hits, taken)
    precision[:, 0] = precision[:, 1] if precision.shape[1] > 1 else np.nan
    for k in np.flatnonzero(hits[:, -1] > 0):
        recall = hits[k] / hits[k, -1]
        defined = np.isfinite(precision[k])
        # A step curve: the precision at recall r is that of the first threshold that reaches r.
        at = np.searchsorted(recall[defined], GRID - 1e-12)
        curves[k] = precision[k][defined][np.minimum(at, defined.sum() - 1)]
    return curves


def _with_band(x: Floats, values: Floats, confidence: float) -> Curve:
    tail = (1 - confidence) / 2
    drawn = values[1:][np.isfinite(values[1:]).all(axis=1)]
    if not len(drawn):
        return Curve(x, values[0], values[0], values[0])
    lower, upper = np.quantile(drawn, [tail, 1 - tail], axis=0)
    return Curve(x, values[0], lower, upper)
