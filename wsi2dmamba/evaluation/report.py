"""The report: one self-contained HTML page that reads like a results section and prints well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jinja2

from wsi2dmamba import __version__
from wsi2dmamba.evaluation.bootstrap import Interval
from wsi2dmamba.evaluation.catalogue import HEADLINES, describe, metric_order
from wsi2dmamba.evaluation.compare import Comparison
from wsi2dmamba.evaluation.figures.style import Drawing, percent
from wsi2dmamba.evaluation.mistakes import Mistake
from wsi2dmamba.evaluation.results import Evaluation, RiskGroups


@dataclass(frozen=True)
class Background:
    """What a run folder knows beyond its predictions; empty for a foreign table.

    Attributes
    ----------
    title
        Name of the run or table.
    cohort
        The run's cohort.json: numbers, classes or events, exclusions.
    environment
        The run's environment.json.
    config
        The run's config.yaml, as text.
    """

    title: str
    cohort: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    config: str = ""


def render_report(
    found: Evaluation,
    drawings: Sequence[Drawing],
    mistakes: Sequence[Mistake],
    background: Background,
    *,
    flow: Drawing | None = None,
    shuffled: Comparison | None = None,
) -> str:
    """Return the page. All text from the data is escaped; pictures are inside the page."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("wsi2dmamba.evaluation", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html").render(
        version=__version__,
        found=found,
        background=background,
        drawings=list(drawings),
        mistakes=list(mistakes),
        summary=summary_sentences(found),
        metrics=metric_rows(found),
        fold_columns=fold_columns(found),
        confidence=percent(found.config.confidence),
        flow=flow,
        shuffled=comparison_rows(shuffled) if shuffled is not None else [],
    )


def format_interval(value: Interval | None) -> str:
    """Return ``0.871 (0.812 to 0.923)``; a dash where the metric is not defined."""
    if value is None or value.estimate is None:
        return "–"
    if value.lower is None or value.upper is None:
        return f"{value.estimate:.3f}"
    return f"{value.estimate:.3f} ({value.lower:.3f} to {value.upper:.3f})"


def metric_rows(found: Evaluation) -> list[dict[str, Any]]:
    """Return the lines of the table of metrics: whole metrics first, then their parts."""
    names = metric_order(found.pooled)
    several_seeds = len(found.seeds) > 1
    spreads = found.over_seeds if several_seeds else found.over_folds
    rows = []
    for name in names:
        spread, info = spreads.get(name), describe(name)
        shown = "–" if spread is None or spread.sd is None else f"{spread.mean:.3f} ± {spread.sd:.3f}"
        rows.append(
            {
                "name": name,
                "title": info.title,
                "meaning": info.meaning,
                "better": "higher" if info.higher_is_better else "lower",
                "value": format_interval(found.pooled[name]),
                "spread": shown,
                "part": "/" in name,
            }
        )
    return rows


def comparison_rows(found: Comparison) -> list[dict[str, str]]:
    """Return the lines of a comparison's table: metric, both values, difference with interval, P."""
    return [
        {
            "title": describe(name).title,
            "a": format_interval(one.a),
            "b": format_interval(one.b),
            "difference": format_interval(one.difference),
            "p": format_p(one.p_value),
        }
        for name in metric_order(found.metrics)
        if "/" not in name and (one := found.metrics[name]) is not None
    ]


def format_p(p: float | None) -> str:
    """Return ``0.012`` or ``< 0.001``; a dash where no test applies."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def fold_columns(found: Evaluation) -> dict[str, Any]:
    """Return the table of headline metrics by fold."""
    names = [name for name in HEADLINES[found.task] if name in found.pooled]
    rows = [
        {"fold": fold, "values": [format_interval(metrics.get(name)) for name in names]}
        for fold, metrics in found.folds.items()
    ]
    return {"titles": [describe(name).title for name in names], "rows": rows}


def summary_sentences(found: Evaluation) -> list[str]:
    """Return the paragraph a reader wants first."""
    confidence = percent(found.config.confidence)
    folds, seeds = len(found.folds), len(found.seeds)
    design = f"{folds} folds" if folds > 1 else "one split"
    if seeds > 1:
        design += f" and {seeds} seeds"
    events = f" with {found.events} events" if found.events is not None else ""
    headline = found.pooled[found.headline]
    info = describe(found.headline)
    sentences = [f"{found.patients} test patients{events} were judged out of fold ({design})."]
    if headline.estimate is None:
        sentences.append(f"The {info.title} is not defined on them.")
    else:
        bounds = (
            f" ({confidence} interval {headline.lower:.3f} to {headline.upper:.3f})"
            if headline.lower is not None
            else ""
        )
        sentences.append(f"The {info.title} was {headline.estimate:.3f}{bounds}.")
        if info.chance is not None and headline.lower is not None and headline.upper is not None:
            covers = headline.lower <= info.chance <= headline.upper
            told = "includes" if covers else "excludes"
            sentences.append(f"The interval {told} {info.chance:g}, the value of a model that knows nothing.")
    if found.risk_groups is not None:
        sentences.append(groups_sentence(found.risk_groups, confidence))
    return sentences


def groups_sentence(groups: RiskGroups, confidence: str) -> str:
    """Return what sets the two risk groups apart, in a sentence."""
    ratio = groups.hazard_ratio
    where = "of the training patients" if groups.fixed_on == "train" else f"of the {groups.fixed_on} patients"
    if ratio.estimate is None or ratio.lower is None or ratio.upper is None:
        return f"Split at the risk quantile {where}, the groups allow no hazard ratio."
    p = groups.log_rank_p
    test = "" if p is None else f"; log-rank P {'< 0.001' if p < 0.001 else f'= {p:.3f}'}"
    return (
        f"Patients above the risk cut {where} had a hazard ratio of {ratio.estimate:.2f} "
        f"({confidence} interval {ratio.lower:.2f} to {ratio.upper:.2f}{test})."
    )
