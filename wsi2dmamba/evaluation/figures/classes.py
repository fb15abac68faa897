"""Figures of a classification: ROC, precision–recall, confusion matrix, calibration."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from wsi2dmamba.evaluation.bootstrap import Interval
from wsi2dmamba.evaluation.curves import Curve, calibration_table, precision_recall_with_band, roc_curve_with_band
from wsi2dmamba.evaluation.figures.style import COLOURS, GREY, Drawing, finish, new_axes, percent
from wsi2dmamba.evaluation.results import Evaluation


def class_drawings(found: Evaluation) -> list[Drawing]:
    """Return all figures of a classification."""
    return [roc(found), precision_recall(found), confusion(found), calibration(found)]


def judged_classes(found: Evaluation) -> list[int]:
    """Return the classes that get a curve: both halves of two classes mirror each other, so only the last."""
    classes = len(found.predictions.class_names)
    return [1] if classes == 2 else list(range(classes))


def roc(found: Evaluation) -> Drawing:
    """Return the ROC curve of every judged class with its band."""
    rows, config = found.predictions.rows("test"), found.config
    figure, axes = new_axes()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    parts = []
    for number, k in enumerate(judged_classes(found)):
        curve = roc_curve_with_band(rows, k, config.confidence, config.resamples, config.seed)
        name = found.predictions.class_names[k]
        _draw(axes, curve, COLOURS[number % len(COLOURS)], _label(found, "auc", name))
        parts.append(_table(curve, name, "false_positive_rate", "true_positive_rate"))
    _unit_square(axes, "1 − specificity", "Sensitivity")
    axes.legend(loc="lower right")
    several = len(found.folds) > 1
    how = " Folds are averaged at equal false positive rates, weighted by their pairs of patients." if several else ""
    caption = (
        f"ROC curve of {found.patients} test patients with pointwise {percent(config.confidence)} band "
        f"(bootstrap over patients).{how}"
    )
    return finish(figure, "roc", caption, pd.concat(parts, ignore_index=True))


def precision_recall(found: Evaluation) -> Drawing:
    """Return the precision–recall curve of every judged class with its band."""
    rows, config = found.predictions.rows("test"), found.config
    figure, axes = new_axes()
    parts = []
    for number, k in enumerate(judged_classes(found)):
        curve = precision_recall_with_band(rows, k, config.confidence, config.resamples, config.seed)
        name, colour = found.predictions.class_names[k], COLOURS[number % len(COLOURS)]
        _draw(axes, curve, colour, _label(found, "average_precision", name))
        axes.axhline(float((rows.label == k).mean()), color=colour, linewidth=0.7, linestyle=(0, (1, 2)))
        parts.append(_table(curve, name, "recall", "precision"))
    _unit_square(axes, "Recall", "Precision")
    axes.legend(loc="lower left")
    caption = (
        f"Precision and recall, scores of all folds pooled, with pointwise {percent(config.confidence)} band. "
        "Dotted: the share of the class, which a model that knows nothing reaches."
    )
    return finish(figure, "precision-recall", caption, pd.concat(parts, ignore_index=True))


def confusion(found: Evaluation) -> Drawing:
    """Return the confusion matrix, counts and shares of the true class."""
    rows, names = found.predictions.rows("test"), found.predictions.class_names
    size = len(names)
    counts = np.zeros((size, size))
    np.add.at(counts, (rows.label, rows.probability.argmax(axis=1)), 1.0)
    seeds = len(np.unique(rows.seed))
    counts /= seeds
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-12)
    figure, axes = new_axes(max(3.2, 0.75 * size + 1.8), max(2.9, 0.7 * size + 1.4))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i in range(size):
        for j in range(size):
            ink = "white" if shares[i, j] > 0.55 else "black"
            axes.text(j, i, f"{counts[i, j]:g}\n{shares[i, j]:.0%}", ha="center", va="center", color=ink, fontsize=8)
    axes.set_xticks(range(size), list(names))
    if max(map(len, names)) > 6:
        axes.tick_params(axis="x", labelrotation=35)
    axes.set_yticks(range(size), list(names))
    axes.set_xlabel("Predicted (most probable class)")
    axes.set_ylabel("True")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    data = pd.DataFrame(counts, columns=[f"predicted_{name}" for name in names])
    data.insert(0, "true", names)
    averaged = f", averaged over {seeds} seeds" if seeds > 1 else ""
    caption = f"Confusion matrix out of fold{averaged}: patients, and share of the true class."
    return finish(figure, "confusion", caption, data)


def calibration(found: Evaluation) -> Drawing:
    """Return observed against predicted probability of every judged class, with intervals."""
    rows, config = found.predictions.rows("test"), found.config
    figure, axes = new_axes()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    parts = []
    for number, k in enumerate(judged_classes(found)):
        table = calibration_table(
            rows.probability[:, k], rows.label == k, rows.case, config.calibration_bins, config.confidence, config.seed
        )
        colour, name = COLOURS[number % len(COLOURS)], found.predictions.class_names[k]
        spread = np.abs(np.stack([table["observed"] - table["lower"], table["upper"] - table["observed"]]))
        axes.errorbar(
            table["predicted"],
            table["observed"],
            yerr=spread,
            color=colour,
            marker="o",
            markersize=3.5,
            linewidth=1.2,
            elinewidth=0.8,
            capsize=2,
            label=name,
        )
        parts.append(pd.DataFrame({"class": name, **table}))
    _unit_square(axes, "Predicted probability", "Observed share")
    axes.legend(loc="upper left")
    caption = (
        f"Calibration: predicted probability against observed share in {config.calibration_bins} bins of equal width, "
        f"with {percent(config.confidence)} intervals. On the diagonal a probability means what it says."
    )
    return finish(figure, "calibration", caption, pd.concat(parts, ignore_index=True))


def _label(found: Evaluation, metric: str, name: str) -> str:
    value = found.pooled.get(f"{metric}/{name}", found.pooled[metric])
    return f"{name}: {short_interval(value)}"


def short_interval(value: Interval) -> str:
    """Return ``0.87 (0.81 to 0.92)``."""
    if value.estimate is None:
        return "not defined"
    bounds = f" ({value.lower:.2f} to {value.upper:.2f})" if value.lower is not None else ""
    return f"{value.estimate:.2f}{bounds}"


def _draw(axes: Axes, curve: Curve, colour: str, label: str) -> None:
    axes.fill_between(curve.x, curve.lower, curve.upper, color=colour, alpha=0.15, linewidth=0)
    axes.plot(curve.x, curve.y, color=colour, label=label)


def _table(curve: Curve, name: str, x: str, y: str) -> pd.DataFrame:
    return pd.DataFrame({"class": name, x: curve.x, y: curve.y, "lower": curve.lower, "upper": curve.upper})


def _unit_square(axes: Axes, x: str, y: str) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=x, ylabel=y)
    axes.set_aspect("equal")
