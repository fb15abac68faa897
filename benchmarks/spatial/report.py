"""The table and the plot of the spatial benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import t as student

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def interval(values: pd.Series) -> tuple[float, float]:
    """Return mean and half width of the 95 % interval over seeds (Student); nan with fewer than three seeds."""
    count = len(values)
    half = student.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count) if count > 2 else float("nan")
    return float(values.mean()), float(half)


def markdown_table(results: pd.DataFrame) -> str:
    """Return a table of systems against rules: score ± half interval, and in brackets after shuffling coordinates.

    Of the times, which other work on the machine only lengthens, the least is shown.
    """
    rules = _rules_of(results)
    lines = [
        "| system | " + " | ".join(rules) + " | parameters | ms per step | MB per bag |",
        "|---|" + "---|" * len(rules) + "---:|---:|---:|",
    ]
    for system, own in results.groupby("system", sort=False):
        cells = [_cell(own[own["rule"] == rule]) for rule in rules]
        lines.append(
            f"| `{system}` | {' | '.join(cells)} | {int(own['parameters'].iloc[0]):,} "
            f"| {own['milliseconds'].min():.1f} | {own['megabytes'].median():.1f} |"
        )
    return "\n".join(lines) + "\n"


def _rules_of(results: pd.DataFrame) -> list[str]:
    """Return the rules in the table, the control first."""
    return sorted(dict.fromkeys(results["rule"]), key=lambda rule: rule != "composition")


def _cell(results: pd.DataFrame) -> str:
    if results.empty:
        return "—"
    mean, half = interval(results["score"])
    spread = f" ± {half:.2f}" if np.isfinite(half) else ""
    return f"{mean:.2f}{spread} ({results['shuffled'].mean():.2f})"


def plot(results: pd.DataFrame, path: Path) -> None:
    """Draw a panel per rule: every system's score, filled, with its seeds; hollow with coordinates shuffled."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rules, systems = _rules_of(results), list(dict.fromkeys(results["system"]))
    down = -(-len(rules) // _ACROSS)
    # Without a salt of its own and a date, the same results make the same file.
    plt.rcParams["svg.hashsalt"] = "spatial"
    size = (2.3 * _ACROSS + 1.5, (0.24 * len(systems) + 0.6) * down + 0.4)
    figure, axes = plt.subplots(down, min(len(rules), _ACROSS), sharey=True, sharex=True, squeeze=False, figsize=size)
    for axis, rule in zip(axes.flat, rules, strict=False):
        _draw_rule(axis, results[results["rule"] == rule], systems)
        axis.set_title(rule, fontsize=9)
    for axis in axes.flat[len(rules) :]:
        axis.set_visible(False)
    axes[0][0].set_yticks(range(len(systems)), systems)
    axes[0][0].set_ylim(len(systems) - 0.5, -0.5)
    axes[0][0].set_xlim(0.15, 1.05)
    axes[0][0].set_xticks([0.25, 0.5, 0.75, 1])
    for axis in axes.flat:
        axis.tick_params(labelsize=8)
    note = "AUC, C-index for distance: mean, 95 % interval and seeds (blue); mean with coordinates shuffled (ring)"
    figure.supxlabel(note, fontsize=9)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


_ACROSS = 4
"""Panels side by side."""


def _draw_rule(axis: Axes, results: pd.DataFrame, systems: list[str]) -> None:
    axis.axvline(0.5, color="0.7", linewidth=1)
    for row, system in enumerate(systems):
        if row % 2:
            axis.axhspan(row - 0.5, row + 0.5, color="0.96", zorder=0)
        own = results[results["system"] == system]
        if own.empty:
            continue
        mean, half = interval(own["score"])
        if np.isfinite(half):
            axis.plot([max(mean - half, 0), min(mean + half, 1)], [row, row], color="C0", linewidth=1.5)
        axis.plot(own["score"], [row] * len(own), "|", color="C0", markersize=6, markeredgewidth=1)
        axis.plot(mean, row, "o", color="C0", markersize=4)
        axis.plot(own["shuffled"].mean(), row, "o", mfc="none", color="C1", markersize=7, markeredgewidth=1)
