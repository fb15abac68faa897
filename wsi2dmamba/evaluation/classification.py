"""Metrics of class probabilities, each for many weightings of the patients at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from wsi2dmamba.evaluation.bootstrap import Floats, Metrics, ratio
from wsi2dmamba.evaluation.ranking import average_precision, pair_auc
from wsi2dmamba.evaluation.rows import Cuts, Rows

DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class OperatingPoints:
    """Thresholds chosen before the test rows were seen.

    Attributes
    ----------
    thresholds
        (fold, seed) → (classes,) probability from which a case is called positive for the class.
    from_validation
        Whether all of them were chosen on validation rows.
    """

    thresholds: dict[tuple[int, int], Floats]
    from_validation: bool

    def called_positive(self, rows: Rows) -> NDArray[np.bool_]:
        """Return (n, classes): the calls at each row's own fold's and seed's thresholds."""
        at = [self.thresholds[int(fold), int(seed)] for fold, seed in zip(rows.fold, rows.seed, strict=True)]
        return np.asarray(rows.probability >= np.stack(at))


def choose_operating_points(
    test: Rows, validation: Rows, rule: str | float, cuts: Cuts | None = None
) -> OperatingPoints:
    """Choose, for every fold and seed of the test rows, the thresholds on its validation rows.

    Parameters
    ----------
    test, validation
        The judged rows and those that thresholds may be chosen on.
    rule
        ``"youden"`` (Youden 1950: the largest sensitivity + specificity − 1) or one fixed probability.
    cuts
        Thresholds fixed before, which are then taken instead of choosing.
    """
    classes = test.probability.shape[1]
    keys = sorted({(int(f), int(s)) for f, s in zip(test.fold, test.seed, strict=True)})
    if not isinstance(rule, str):
        return OperatingPoints({key: np.full(classes, float(rule)) for key in keys}, from_validation=False)
    if cuts is not None:
        return OperatingPoints({key: np.array(cuts.thresholds) for key in keys}, cuts.from_validation)
    chosen: dict[tuple[int, int], Floats] = {}
    complete = True
    for key in keys:
        rows = (validation.fold == key[0]) & (validation.seed == key[1])
        found = [_youden(validation.label[rows] == k, validation.probability[rows, k]) for k in range(classes)]
        complete &= None not in found
        chosen[key] = np.array([DEFAULT_THRESHOLD if value is None else value for value in found])
    return OperatingPoints(chosen, from_validation=complete)


def _youden(truth: NDArray[np.bool_], score: Floats) -> float | None:
    if not truth.any() or truth.all():
        return None
    false_positive, true_positive, thresholds = roc_curve(truth, score, drop_intermediate=False)
    gain = true_positive[1:] - false_positive[1:]
    best = int(np.argmax(gain))
    # Half-way to the next lower score: less tied to the one validation case that set it.
    cuts = np.append(thresholds[1:], 0.0)
    return float((cuts[best] + cuts[best + 1]) / 2.0)


class ClassificationMetrics:
    """Every classification metric of some rows, as a function of the patients' weights.

    Parameters
    ----------
    rows
        Rows of one seed.
    class_names
        Names behind the class numbers.
    called
        (n, classes) whether a row is called positive for a class at its operating point.
    bins
        Bins of the expected calibration error.
    ordinal
        Whether the order of the classes is meant (adds the quadratic κ).
    """

    def __init__(
        self, rows: Rows, class_names: tuple[str, ...], called: NDArray[np.bool_], bins: int, ordinal: bool
    ) -> None:
        self._rows, self._names, self._ordinal = rows, class_names, ordinal
        classes = len(class_names)
        self._truth = np.eye(classes, dtype=bool)[rows.label]
        predicted = rows.probability.argmax(axis=1)
        self._cells = np.eye(classes * classes)[rows.label * classes + predicted]
        self._called = called
        self._squared_error = ((rows.probability - self._truth) ** 2).sum(axis=1)
        self._confidence = rows.probability.max(axis=1)
        self._right = (predicted == rows.label).astype(np.float64)
        bin_of = np.minimum((self._confidence * bins).astype(int), bins - 1)
        self._bins = np.eye(bins)[bin_of]

    def __call__(self, patients: Floats) -> Metrics:
        """Return every metric, (resamples,) each, for (resamples, patients) weights."""
        weights = patients[:, self._rows.case]
        classes = len(self._names)
        confusion = (weights @ self._cells).reshape(-1, classes, classes)
        return {
            **self._ranking(weights),
            **confusion_metrics(confusion, self._ordinal),
            **self._operating(weights),
            **self._calibration(weights),
        }

    def _ranking(self, weights: Floats) -> Metrics:
        rows, classes = self._rows, len(self._names)
        one_model = np.zeros(len(rows), dtype=np.int64)
        # With two classes the second is the first's mirror image: one computation serves both.
        judged = [classes - 1] if classes == 2 else list(range(classes))
        within, pooled, precision = [], [], []
        for k in judged:
            positive, negative = weights * self._truth[:, k], weights * ~self._truth[:, k]
            within.append(pair_auc(rows.probability[:, k], positive, negative, rows.fold))
            pooled.append(pair_auc(rows.probability[:, k], positive, negative, one_model))
            precision.append(average_precision(rows.probability[:, k], self._truth[:, k], weights))
        metrics = {
            "auc": np.mean(within, axis=0),
            "auc_pooled_scores": np.mean(pooled, axis=0),
            "average_precision": np.mean(precision, axis=0),
        }
        if classes > 2:
            for k, auc, ap in zip(judged, within, precision, strict=True):
                metrics[f"auc/{self._names[k]}"] = auc
                metrics[f"average_precision/{self._names[k]}"] = ap
        return metrics

    def _operating(self, weights: Floats) -> Metrics:
        truth, called, classes = self._truth, self._called, len(self._names)
        sensitivity = [ratio(weights @ (truth & called)[:, k], weights @ truth[:, k]) for k in range(classes)]
        specificity = [ratio(weights @ (~truth & ~called)[:, k], weights @ ~truth[:, k]) for k in range(classes)]
        if classes == 2:
            return {"sensitivity": sensitivity[1], "specificity": specificity[1]}
        metrics = {"sensitivity": np.mean(sensitivity, axis=0), "specificity": np.mean(specificity, axis=0)}
        for k, name in enumerate(self._names):
            metrics[f"sensitivity/{name}"] = sensitivity[k]
            metrics[f"specificity/{name}"] = specificity[k]
        return metrics

    def _calibration(self, weights: Floats) -> Metrics:
        total = weights.sum(axis=1)
        # |Σ w (right − confidence)| in each bin, over Σ w: Naeini et al., AAAI 2015.
        gaps = np.abs(weights @ (self._bins * (self._right - self._confidence)[:, None])).sum(axis=1)
        brier = ratio(weights @ self._squared_error, total)
        # Two classes: the usual one-sided form, half of the sum over both.
        return {"brier": brier / 2 if len(self._names) == 2 else brier, "ece": ratio(gaps, total)}


def confusion_metrics(confusion: Floats, ordinal: bool) -> Metrics:
    """Return accuracy, balanced accuracy, macro F1 and κ of (resamples, true, predicted) weighted counts.

    Each equals scikit-learn's: classes that are neither present nor predicted are left out of F1, classes that are
    not present out of balanced accuracy.
    """
    total = confusion.sum(axis=(1, 2))
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    present, called = confusion.sum(axis=2), confusion.sum(axis=1)
    recall, f1 = ratio(hits, present), ratio(2 * hits, present + called)
    metrics = {
        "accuracy": ratio(hits.sum(axis=1), total),
        "balanced_accuracy": _mean_of_defined(recall),
        "f1": _mean_of_defined(f1),
        "kappa": _kappa(confusion, present, called, 1.0 - np.eye(confusion.shape[1])),
    }
    if ordinal:
        step = np.arange(confusion.shape[1])
        metrics["kappa_quadratic"] = _kappa(confusion, present, called, np.subtract.outer(step, step) ** 2.0)
    return metrics


def _kappa(confusion: Floats, present: Floats, called: Floats, penalty: Floats) -> Floats:
    observed = (confusion * penalty).sum(axis=(1, 2))
    by_chance = np.einsum("ri,rj,ij->r", present, called, penalty)
    return 1.0 - ratio(observed * confusion.sum(axis=(1, 2)), by_chance)


def _mean_of_defined(values: Floats) -> Floats:
    defined = np.isfinite(values)
    return ratio(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1).astype(np.float64))
