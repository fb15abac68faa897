"""DeLong's test of two AUCs on the same patients.

DeLong, DeLong & Clarke-Pearson (Biometrics 1988) write an AUC as a mean over patients: a positive's placement is the
share of negatives it outranks, a negative's the share of positives that outrank it. Each patient's deviation from
the mean, divided by how many of its kind there are, is its influence; the variance of the AUC is the sum of squared
influences. Here placements are taken within a fold, influences are weighted like the folds' pairs, and a patient's
influences are added over its rows, folds, classes and seeds before they are squared (the clustered form of
Obuchowski, Biometrics 1997). With one fold, one seed and one row per patient it is DeLong's test itself.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from wsi2dmamba.evaluation.bootstrap import Floats
from wsi2dmamba.evaluation.rows import Rows


def auc_influence(rows: Rows, classes: list[int]) -> tuple[float, Floats]:
    """Return the macro AUC within folds, averaged over seeds, and every patient's influence on it.

    Parameters
    ----------
    rows
        Test rows.
    classes
        Numbers of the positive classes (with two classes, the second alone).

    Returns
    -------
    tuple
        The AUC (NaN if a class has no pair in any fold) and (patients,) influences.
    """
    parts = [(k, rows.only(rows.seed == seed)) for seed in np.unique(rows.seed) for k in classes]
    auc, influence = 0.0, np.zeros(len(rows.case_ids))
    for k, part in parts:
        one, its = _within_folds(part, k)
        auc += one / len(parts)
        influence += its / len(parts)
    return auc, influence


def delong_p_value(difference: float, influence_a: Floats, influence_b: Floats) -> float:
    """Return the two-sided P value of a difference of two AUCs whose influences are in the same patients' order."""
    error = math.sqrt(float(((influence_a - influence_b) ** 2).sum()))
    if error == 0.0:
        return 1.0 if difference == 0.0 else 0.0
    return float(2.0 * norm.sf(abs(difference) / error))


def _within_folds(rows: Rows, of_class: int) -> tuple[float, Floats]:
    influence = np.zeros(len(rows.case_ids))
    won = pairs = 0.0
    folds = []
    for fold in np.unique(rows.fold):
        here = np.flatnonzero(rows.fold == fold)
        truth = rows.label[here] == of_class
        positives, negatives = int(truth.sum()), int((~truth).sum())
        if positives and negatives:
            placements = _placements(rows.probability[here, of_class], truth)
            folds.append((here, truth, placements))
            won += placements[truth].sum() * negatives
            pairs += positives * negatives
    if not pairs:
        return math.nan, influence
    for here, truth, placements in folds:
        share = float(truth.sum()) * float((~truth).sum()) / pairs
        for kind in (truth, ~truth):
            count = int(kind.sum())
            # The unbiased variance divides by count − 1; one patient alone has no spread to tell.
            correction = math.sqrt(count / (count - 1)) if count > 1 else 0.0
            deviation = placements[kind] - placements[truth].mean()
            np.add.at(influence, rows.case[here[kind]], share * correction * deviation / count)
    return won / pairs, influence


def _placements(score: Floats, truth: NDArray[np.bool_]) -> Floats:
    """Share of the other kind that each row is on the right side of, ties counting half."""
    overall = rankdata(score)
    own = np.empty(len(score))
    own[truth], own[~truth] = rankdata(score[truth]), rankdata(score[~truth])
    below = overall - own  # rows of the other kind that score lower, ties half
    return np.where(truth, below / (~truth).sum(), 1.0 - below / truth.sum())
