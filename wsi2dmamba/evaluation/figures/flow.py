"""The flow of patients: from the rows of the table to who was judged, and what was left out on the way."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wsi2dmamba.evaluation.figures.style import COLOURS, GREY, Drawing, finish

_WIDTH_IN = 7.2
_LINE_IN, _PADDING_IN, _GAP_IN = 0.17, 0.16, 0.22
_MOST_GROUPS = 6


@dataclass(frozen=True)
class _Box:
    """A box of the flow: a step of it, or (`aside`) what was left out there."""

    text: str
    aside: bool = False

    @property
    def height(self) -> float:
        return self.text.count("\n") * _LINE_IN + _LINE_IN + _PADDING_IN


def flow_of_patients(cohort: Mapping[str, Any], judged: int) -> Drawing | None:
    """Return the flow diagram in the manner of CONSORT (Schulz et al., BMJ 2010), or None where nothing is known.

    Parameters
    ----------
    cohort
        A run's cohort.json.
    judged
        Patients whose test predictions are judged.
    """
    if not cohort:
        return None
    steps = _steps(cohort, judged)
    groups = _groups(cohort)
    height = sum(box.height + _GAP_IN for box in steps) + (max(map(_height_of, groups)) + _GAP_IN if groups else 0)
    figure = Figure(figsize=(_WIDTH_IN, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, _WIDTH_IN), ylim=(-height, 0))
    axes.axis("off")
    _draw_groups(axes, groups, _draw_steps(axes, steps))
    data = pd.DataFrame(
        [("left out" if box.aside else "step", box.text.replace("\n", " ")) for box in steps]
        + [("group", text.replace("\n", " ")) for text in groups],
        columns=["kind", "text"],
    )
    caption = "Flow of patients, from the rows of the table to those who were judged; on the right, what was left out."
    return finish(figure, "flow", caption, data, wide=True)


def _height_of(text: str) -> float:
    return _Box(text).height


def _steps(cohort: Mapping[str, Any], judged: int) -> list[_Box]:
    rows = cohort.get("rows")
    first = f"Table: {rows} rows" if rows else "Table"
    left_out = [one for one in cohort.get("exclusions", []) if one["ids"]]
    asides = [
        _Box("\n".join(textwrap.wrap(f"{len(one['ids'])} {_unit(one)} left out: {one['reason']}", 44)), aside=True)
        for one in left_out
    ]
    several = cohort.get("patients_with_several_slides", 0)
    analysed = f"Analysed: {cohort['patients']} patients with {cohort['slides']} slides\n({several} with several)"
    return [_Box(first), *asides, _Box(analysed), _Box(f"Judged out of fold: {judged} patients")]


def _unit(exclusion: Mapping[str, Any]) -> str:
    unit = str(exclusion["unit"])
    return unit.removesuffix("s") if len(exclusion["ids"]) == 1 else unit


def _groups(cohort: Mapping[str, Any]) -> list[str]:
    if "classes" in cohort:
        groups = [f"{textwrap.fill(str(name), 16)}\nn = {count}" for name, count in cohort["classes"].items()]
    elif "events" in cohort:
        groups = [f"with event\nn = {cohort['events']}", f"censored\nn = {cohort['censored']}"]
    else:
        groups = []
    if len(groups) > _MOST_GROUPS:
        rest = sum(int(text.rsplit("= ", 1)[1]) for text in groups[_MOST_GROUPS - 1 :])
        groups = [*groups[: _MOST_GROUPS - 1], f"{len(groups) - _MOST_GROUPS + 1} other classes\nn = {rest}"]
    return groups


def _draw_steps(axes: Axes, steps: list[_Box]) -> float:
    """Draw the boxes from the top down; return where the last one ends."""
    spine, right = 0.27 * _WIDTH_IN, 0.76 * _WIDTH_IN
    top, end_of_last = -_GAP_IN / 2, None
    for box in steps:
        middle = top - box.height / 2
        if box.aside:
            axes.annotate("", (right - 1.65, middle), (spine, middle), arrowprops=_ARROW)
            _text(axes, right, middle, box.text, GREY)
        else:
            if end_of_last is not None:
                axes.annotate("", (spine, top), (spine, end_of_last), arrowprops=_ARROW)
            _text(axes, spine, middle, box.text, COLOURS[0])
            end_of_last = top - box.height
        top -= box.height + _GAP_IN
    return float(end_of_last or top)


def _draw_groups(axes: Axes, groups: list[str], start: float) -> None:
    if not groups:
        return
    top = start - _GAP_IN
    pitch = min(_WIDTH_IN / len(groups), 1.35)
    spine = 0.27 * _WIDTH_IN
    left = max(spine - pitch * (len(groups) - 1) / 2, pitch / 2)
    for place, text in enumerate(groups):
        x = left + place * pitch
        axes.annotate("", (x, top), (spine, start), arrowprops=_ARROW)
        _text(axes, x, top - _height_of(text) / 2, text, COLOURS[2])


_ARROW: dict[str, Any] = {"arrowstyle": "-|>", "color": "#444444", "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0}


def _text(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    box = {"boxstyle": "round,pad=0.45,rounding_size=0.15", "facecolor": "white", "edgecolor": colour}
    axes.text(x, y, text, ha="center", va="center", fontsize=8.5, linespacing=1.25, bbox=box)
