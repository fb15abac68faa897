"""The table and the plot of the spatial benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t as student


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
    """Draw a panel per rule: every system's score, filled, and with shuffled coordinates, hollow."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rules, systems = _rules_of(results), list(dict.fromkeys(results["system"]))
    # Without a salt of its own and a date, the same results make the same file.
    plt.rcParams["svg.hashsalt"] = "spatial"
    figure, axes = plt.subplots(
        1,
        len(rules),
        sharey=True,
        sharex=True,
        squeeze=False,
        figsize=(2.2 * len(rules) + 1.5, 0.28 * len(systems) + 1),
    )
    for axis, rule in zip(axes[0], rules, strict=True):
        axis.axvline(0.5, color="0.8", linewidth=1)
        for row, system in enumerate(systems):
            of_system = results[(results["rule"] == rule) & (results["system"] == system)]
            if len(of_system):
                mean, half = interval(of_system["score"])
                axis.errorbar(mean, row, xerr=np.nan_to_num(half), fmt="o", color="C0", markersize=4)
                axis.plot(of_system["shuffled"].mean(), row, "o", mfc="none", color="C1", markersize=4)
        axis.set_title(rule, fontsize=9)
        axis.set_xlim(0.3, 1.02)
    axes[0][0].set_yticks(range(len(systems)), systems, fontsize=8)
    axes[0][0].invert_yaxis()
    figure.supxlabel("AUC, or C-index for distance (filled); with coordinates shuffled (hollow)", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
