"""Weighted rank metrics, vectorised over resamples: area under the ROC curve and average precision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.evaluation.bootstrap import Floats, ratio


def pair_auc(score: Floats, positive: Floats, negative: Floats, stratum: NDArray[np.int64]) -> Floats:
    """Return the area under the ROC curve over the pairs within each stratum, for many weightings at once.

    The share of (positive, negative) pairs in which the positive scores higher, ties counting half: the Mann–Whitney
    form of the AUC. With one stratum it equals `sklearn.metrics.roc_auc_score(sample_weight=…)`.

    Parameters
    ----------
    score
        (n,) scores.
    positive, negative
        (resamples, n) weights of each row as a positive and as a negative.
    stratum
        (n,) only pairs of one stratum (fold) are compared: models of different folds have different scales.

    Returns
    -------
    ndarray
        (resamples,), NaN where no pair has weight.
    """
    order = np.lexsort((score, stratum))
    first_of_tie, end_of_tie, first_of_stratum, end_of_stratum = _runs(stratum[order], score[order])
    below = _running_sum(negative[:, order])
    positive = positive[:, order]
    start = below[:, first_of_stratum]
    wins = 0.5 * (below[:, first_of_tie] + below[:, end_of_tie]) - start
    pairs = below[:, end_of_stratum] - start
    return ratio((positive * wins).sum(axis=1), (positive * pairs).sum(axis=1))


def average_precision(score: Floats, positive: NDArray[np.bool_], weights: Floats) -> Floats:
    """Return Σ (recallₖ − recallₖ₋₁)·precisionₖ over the distinct scores, for many weightings at once.

    Equals `sklearn.metrics.average_precision_score(sample_weight=…)`.

    Parameters
    ----------
    score, positive
        (n,) scores and truth.
    weights
        (resamples, n).

    Returns
    -------
    ndarray
        (resamples,), NaN without a positive.
    """
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(score[order]) != 0, True)) + 1
    hits = _running_sum(weights[:, order] * positive[order])[:, ends]
    taken = _running_sum(weights[:, order])[:, ends]
    gained = np.diff(hits, axis=1, prepend=0.0)
    precision = np.divide(hits, taken, out=np.zeros_like(hits), where=taken > 0)
    return ratio((gained * precision).sum(axis=1), hits[:, -1])


def _running_sum(values: Floats) -> Floats:
    """Cumulative sum with a leading zero: entry k is the sum of the first k."""
    sums = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def _runs(stratum: NDArray[np.int64], score: Floats) -> tuple[NDArray[np.int64], ...]:
    """For every sorted row: where its run of tied scores begins and ends, and where its stratum does."""
    new_stratum = np.append(True, np.diff(stratum) != 0)
    new_tie = new_stratum | np.append(True, np.diff(score) != 0)
    return (*_begin_and_end(new_tie), *_begin_and_end(new_stratum))


def _begin_and_end(new: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    begins = np.flatnonzero(new)
    ends = np.append(begins[1:], len(new))
    run = np.cumsum(new) - 1
    return begins[run], ends[run]
