"""Results as tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from wsi2dmamba.evaluation.bootstrap import Interval
from wsi2dmamba.evaluation.catalogue import HEADLINES, describe, metric_order
from wsi2dmamba.evaluation.compare import Comparison
from wsi2dmamba.evaluation.figures.style import percent
from wsi2dmamba.evaluation.report import format_interval, format_p, groups_sentence
from wsi2dmamba.evaluation.results import Evaluation


def print_evaluation(found: Evaluation, title: str, console: Console | None = None) -> None:
    """Print all pooled metrics, and the headline metrics of every fold.

    Parameters
    ----------
    found
        What was judged.
    title
        Name of the run or table.
    console
        Where to; the standard output unless told.
    """
    console = console or Console(width=None if Console().is_terminal else 110)
    events = f", {found.events} events" if found.events is not None else ""
    table = Table(title=Text(f"{title}: {found.patients} test patients{events}"), title_justify="left")
    table.add_column("metric")
    table.add_column(f"pooled ({percent(found.config.confidence)} interval)", justify="right")
    seeds = len(found.seeds) > 1
    table.add_column(f"mean ± SD over {'seeds' if seeds else 'folds'}", justify="right")
    spreads = found.over_seeds if seeds else found.over_folds
    for name in metric_order(found.pooled):
        spread = spreads.get(name)
        shown = f"{spread.mean:.3f} ± {spread.sd:.3f}" if spread is not None and spread.sd is not None else "–"
        table.add_row(Text(describe(name).title), format_interval(found.pooled[name]), shown)
    console.print(table)
    if len(found.folds) > 1:
        console.print(_folds(found))
    if found.risk_groups is not None:
        console.print(Text(groups_sentence(found.risk_groups, percent(found.config.confidence))))
    for note in found.notes:
        console.print(Text(f"note: {note}"))


def _folds(found: Evaluation) -> Table:
    names: Sequence[str] = [name for name in HEADLINES[found.task] if name in found.pooled]
    table = Table()
    table.add_column("fold")
    for name in names:
        table.add_column(Text(describe(name).title), justify="right")
    for fold, metrics in found.folds.items():
        table.add_row(str(fold), *[format_interval(metrics[name]) for name in names])
    return table


def print_systems(
    systems: dict[tuple[str, ...], Evaluation], group_by: Sequence[str], console: Console | None = None
) -> None:
    """Print one line per system with its headline metrics."""
    console = console or Console(width=None if Console().is_terminal else 140)
    first = next(iter(systems.values()))
    names = [name for name in HEADLINES[first.task] if name in first.pooled]
    table = Table()
    for column in (*group_by, "patients"):
        table.add_column(Text(column))
    for name in names:
        table.add_column(Text(describe(name).title), justify="right")
    for key, found in systems.items():
        values = [format_interval(found.pooled.get(name)) for name in names]
        table.add_row(*[Text(value) for value in key], str(found.patients), *values)
    console.print(table)


def print_comparison(found: Comparison, names: tuple[str, str], console: Console | None = None) -> None:
    """Print both systems' metrics, their differences with intervals, and the tests."""
    console = console or Console(width=None if Console().is_terminal else 140)
    table = Table(title=Text(f"A = {names[0]}, B = {names[1]}: {found.patients} patients"), title_justify="left")
    table.add_column("metric")
    for title in ("A", "B", "A − B (interval)", "P", "test"):
        table.add_column(title, justify="right")
    for name in metric_order(found.metrics):
        one = found.metrics[name]
        values = [format_interval(Interval(value.estimate)) for value in (one.a, one.b)]
        table.add_row(
            Text(describe(name).title), *values, format_interval(one.difference), format_p(one.p_value), one.test
        )
    console.print(table)
    for note in found.notes:
        console.print(Text(f"note: {note}"))
