"""The table and the plot of the spatial benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t as student


def interval(values: pd.Series) -> tuple[float, float]:
    """Return mean and half width of the 95 % interval over seeds (Student); nan with one seed."""
    count = len(values)
    half = student.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count) if count > 1 else float("nan")
    return float(values.mean()), float(half)


def markdown_table(results: pd.DataFrame) -> str:
    """Return a table of systems against rules: AUC ± half interval, and in brackets after shuffling coordinates."""
    rules = list(dict.fromkeys(results["rule"]))
    lines = [
        "| model | " + " | ".join(rules) + " | parameters | ms per bag | MB per bag |",
        "|---|" + "---|" * len(rules) + "---:|---:|---:|",
    ]
    for model in dict.fromkeys(results["model"]):
        own = results[results["model"] == model]
        cells = []
        for rule in rules:
            of_rule = own[own["rule"] == rule]
            if of_rule.empty:
                cells.append("—")
                continue
            mean, half = interval(of_rule["auc"])
            spread = f" ± {half:.2f}" if np.isfinite(half) else ""
            cells.append(f"{mean:.2f}{spread} ({of_rule['auc_shuffled'].mean():.2f})")
        small = own[own["rule"] != "motif"]
        usual = small if len(small) else own
        lines.append(
            f"| {model} | " + " | ".join(cells) + f" | {int(own['parameters'].iloc[0]):,} "
            f"| {usual['milliseconds'].median():.1f} | {usual['megabytes'].median():.1f} |"
        )
    return "\n".join(lines) + "\n"


def plot(results: pd.DataFrame, path: Path) -> None:
    """Draw a panel per rule: every system's AUC, filled, and with shuffled coordinates, hollow."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rules, models = list(dict.fromkeys(results["rule"])), list(dict.fromkeys(results["model"]))
    figure, axes = plt.subplots(
        1, len(rules), sharey=True, sharex=True, squeeze=False, figsize=(2.2 * len(rules) + 1.5, 0.28 * len(models) + 1)
    )
    for axis, rule in zip(axes[0], rules, strict=True):
        axis.axvline(0.5, color="0.8", linewidth=1)
        for row, model in enumerate(models):
            of_model = results[(results["rule"] == rule) & (results["model"] == model)]
            if len(of_model):
                mean, half = interval(of_model["auc"])
                axis.errorbar(mean, row, xerr=np.nan_to_num(half), fmt="o", color="C0", markersize=4)
                axis.plot(of_model["auc_shuffled"].mean(), row, "o", mfc="none", color="C1", markersize=4)
        axis.set_title(rule, fontsize=9)
        axis.set_xlim(0.3, 1.02)
    axes[0][0].set_yticks(range(len(models)), models, fontsize=8)
    axes[0][0].invert_yaxis()
    figure.supxlabel("AUC (blue), with coordinates shuffled (orange)", fontsize=9)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
