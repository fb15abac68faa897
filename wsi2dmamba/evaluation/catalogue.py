"""What every metric is called, means, and which way is better."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class MetricInfo:
    """One metric: its printed name, what it is, and its direction.

    Attributes
    ----------
    title
        Printed name.
    meaning
        One sentence, with how folds are joined where it matters.
    higher_is_better
        Direction.
    chance
        Value of a model that knows nothing, where there is one.
    """

    title: str
    meaning: str
    higher_is_better: bool = True
    chance: float | None = None


CATALOGUE: dict[str, MetricInfo] = {
    "auc": MetricInfo(
        "AUROC",
        "Area under the ROC curve, macro one-vs-rest, over pairs of patients of the same fold.",
        chance=0.5,
    ),
    "auc_pooled_scores": MetricInfo(
        "AUROC, scores pooled",
        "The same over all pairs, as if the folds' models shared one scale; biased downwards when they do not.",
        chance=0.5,
    ),
    "average_precision": MetricInfo(
        "Average precision", "Area under the precision–recall steps, macro over classes, scores of all folds pooled."
    ),
    "accuracy": MetricInfo("Accuracy", "Share of patients whose most probable class is right."),
    "balanced_accuracy": MetricInfo("Balanced accuracy", "Mean of the classes' recalls."),
    "f1": MetricInfo("F1 (macro)", "Mean of the classes' F1 scores."),
    "kappa": MetricInfo("Cohen's κ", "Agreement beyond chance, all confusions alike.", chance=0.0),
    "kappa_quadratic": MetricInfo(
        "Quadratic κ", "Agreement beyond chance, confusions squared by distance.", chance=0.0
    ),
    "sensitivity": MetricInfo("Sensitivity", "At the threshold chosen on validation patients of the same fold."),
    "specificity": MetricInfo("Specificity", "At the threshold chosen on validation patients of the same fold."),
    "brier": MetricInfo("Brier score", "Mean squared error of the probabilities.", higher_is_better=False),
    "ece": MetricInfo(
        "Calibration error", "Expected calibration error of the most probable class, bins of equal width.", False
    ),
    "c_index": MetricInfo(
        "C-index (Harrell)",
        "Share of comparable pairs of the same fold whose risks are in the right order.",
        chance=0.5,
    ),
    "c_index_uno": MetricInfo(
        "C-index (Uno)",
        "The same, pairs weighed by the inverse probability of censoring, up to the horizon.",
        chance=0.5,
    ),
    "auc_t": MetricInfo(
        "AUC(t), mean", "Cumulative/dynamic AUC averaged over the horizons, pairs of the same fold.", chance=0.5
    ),
    "hazard_ratio": MetricInfo(
        "Hazard ratio, high against low risk",
        "Cox regression, baseline hazard by fold; groups cut where the training patients of the fold said.",
        chance=1.0,
    ),
    "hazard_ratio_per_sd": MetricInfo(
        "Hazard ratio per SD of the risk", "Cox regression, baseline hazard by fold; SD within the fold.", chance=1.0
    ),
    "integrated_brier": MetricInfo(
        "Integrated Brier",
        "Error of the predicted survival probabilities up to the horizon, censoring-weighted.",
        False,
    ),
    "mae": MetricInfo("Mean absolute error", "In units of the target.", False),
    "rmse": MetricInfo("Root mean squared error", "In units of the target.", False),
    "r2": MetricInfo("R²", "Share of the target's variance explained.", chance=0.0),
    "pearson": MetricInfo("Pearson's r", "Linear correlation with the target.", chance=0.0),
}

HEADLINES: dict[str, tuple[str, ...]] = {
    "classification": ("auc", "f1", "accuracy", "balanced_accuracy"),
    "ordinal": ("kappa_quadratic", "auc", "f1", "accuracy", "balanced_accuracy"),
    "survival": ("c_index", "c_index_uno", "auc_t"),
    "regression": ("mae", "r2", "pearson"),
}


def metric_order(names: Iterable[str]) -> list[str]:
    """Return names with the parts of a metric (its classes, its times) behind the last whole metric, together."""
    listed = list(names)
    place = {name: k for k, name in enumerate(listed)}
    return sorted(listed, key=lambda name: ("/" in name, place[name.partition("/")[0]], place[name]))


def describe(name: str) -> MetricInfo:
    """Return what `name` is; ``auc/tumour`` is the class's (or time's) part of ``auc``."""
    whole, _, part = name.partition("/")
    info = CATALOGUE[whole]
    if not part:
        return info
    title = f"AUC at t = {part}" if whole == "auc_t" else f"{info.title}: {part}"
    return MetricInfo(title, info.meaning, info.higher_is_better, info.chance)
