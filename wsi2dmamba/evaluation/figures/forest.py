"""Forest plots: one line per fold, subgroup or system, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from wsi2dmamba.evaluation.bootstrap import Interval
from wsi2dmamba.evaluation.catalogue import MetricInfo
from wsi2dmamba.evaluation.figures.style import COLOURS, GREY, Drawing, finish, new_axes


@dataclass(frozen=True)
class ForestLine:
    """One line: its label, how many patients it speaks of, and its value; `whole` is drawn as a diamond."""

    label: str
    patients: int
    value: Interval
    whole: bool = False


def forest(lines: Sequence[ForestLine], metric: MetricInfo, name: str, caption: str) -> Drawing:
    """Return a forest plot of `lines`, from top to bottom."""
    figure, axes = new_axes(6.2, 0.9 + 0.28 * len(lines))
    for place, line in enumerate(reversed(lines)):
        value = line.value
        if value.estimate is None:
            axes.text(1.02, place, "not defined", transform=axes.get_yaxis_transform(), va="center", fontsize=8)
            continue
        text = f"{value.estimate:.3f}"
        if value.lower is not None and value.upper is not None:
            axes.plot([value.lower, value.upper], [place, place], color=COLOURS[0], linewidth=1.2)
            text += f"  ({value.lower:.3f} to {value.upper:.3f})"
        axes.plot(value.estimate, place, marker="D" if line.whole else "s", color=COLOURS[0], markersize=5)
        axes.text(1.02, place, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8)
    if metric.chance is not None:
        axes.axvline(metric.chance, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set_yticks(range(len(lines)), [f"{line.label}  (n = {line.patients})" for line in reversed(lines)])
    axes.set(xlabel=metric.title, ylim=(-0.7, len(lines) - 0.3))
    axes.spines["left"].set_visible(False)
    axes.tick_params(left=False)
    data = pd.DataFrame(
        [
            {"line": line.label, "patients": line.patients, "metric": metric.title, **line.value.to_dict()}
            for line in lines
        ]
    )
    return finish(figure, name, caption, data, wide=True)
