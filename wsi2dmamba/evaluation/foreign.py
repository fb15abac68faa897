"""Judge the tables of other tools, one system or many at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast, get_args

import pandas as pd

from wsi2dmamba.core.errors import InputError
from wsi2dmamba.core.files import atomic_path, write_json
from wsi2dmamba.evaluation.catalogue import describe
from wsi2dmamba.evaluation.config import EvalConfig, TableColumns
from wsi2dmamba.evaluation.figures.forest import ForestLine, forest
from wsi2dmamba.evaluation.figures.style import house_style, percent
from wsi2dmamba.evaluation.judge import evaluate
from wsi2dmamba.evaluation.output import write_evaluation
from wsi2dmamba.evaluation.predictions import load_tables, read_predictions
from wsi2dmamba.evaluation.report import Background
from wsi2dmamba.evaluation.results import SCHEMA, Evaluation
from wsi2dmamba.evaluation.rows import Task
from wsi2dmamba.evaluation.terminal import print_evaluation, print_systems


def evaluate_tables(
    paths: Sequence[Path],
    out: Path,
    config: EvalConfig,
    *,
    columns: TableColumns | None = None,
    task: str | None = None,
    group_by: Sequence[str] = (),
) -> dict[tuple[str, ...], Evaluation]:
    """Judge predictions tables and write the results to `out`.

    Parameters
    ----------
    paths
        CSVs, taken together.
    out
        With no `group_by`: metrics.json, predictions.csv, figures/, report.html. With it: metrics.csv (one line per
        system, fold and metric), metrics.json and a forest plot of the systems.
    config
        How to judge.
    columns, task
        As in `read_predictions`.
    group_by
        Columns whose combinations are systems of their own.

    Returns
    -------
    dict
        Values of `group_by` → evaluation.

    Raises
    ------
    EvaluationError
        If a table cannot be judged.
    InputError
        If the task or a column of `group_by` is unknown.
    """
    if task is not None and task not in get_args(Task):
        raise InputError(f"task {task!r} is none of {', '.join(get_args(Task))}")
    kind = cast(Task | None, task)
    if not group_by:
        found = evaluate(read_predictions(list(paths), columns, kind), config)
        title = ", ".join(path.stem for path in paths)
        write_evaluation(found, out, Background(title=title))
        print_evaluation(found, title)
        return {(): found}
    table = load_tables(list(paths))
    unknown = [name for name in group_by if name not in table]
    if unknown:
        raise InputError(f"no column {unknown[0]!r} to group by; the table has {', '.join(map(str, table))}")
    systems: dict[tuple[str, ...], Evaluation] = {}
    for key, part in table.groupby(list(group_by), sort=True):
        name = tuple(str(value) for value in key)
        systems[name] = evaluate(read_predictions(part.reset_index(drop=True), columns, kind), config)
    _write_systems(systems, list(group_by), out)
    print_systems(systems, list(group_by))
    return systems


def systems_table(systems: dict[tuple[str, ...], Evaluation], group_by: Sequence[str]) -> pd.DataFrame:
    """Return one line per system, fold (``pooled`` first) and metric."""
    lines: list[dict[str, Any]] = []
    for key, found in systems.items():
        named = dict(zip(group_by, key, strict=True))
        for fold, metrics in (("pooled", found.pooled), *((str(k), m) for k, m in found.folds.items())):
            lines += [{**named, "fold": fold, "metric": name, **value.to_dict()} for name, value in metrics.items()]
    return pd.DataFrame(lines)


def _write_systems(systems: dict[tuple[str, ...], Evaluation], group_by: list[str], out: Path) -> None:
    first = next(iter(systems.values()))
    lines = [
        ForestLine(" · ".join(key), found.patients, found.pooled[found.headline]) for key, found in systems.items()
    ]
    caption = f"Headline metric of every system, pooled out of fold; {percent(first.config.confidence)} intervals."
    with house_style():
        forest(lines, describe(first.headline), "systems", caption).write(out / "figures")
    with atomic_path(out / "metrics.csv") as partial:
        systems_table(systems, group_by).to_csv(partial, index=False)
    described = [{**dict(zip(group_by, key, strict=True)), **found.to_dict()} for key, found in systems.items()]
    write_json(out / "metrics.json", {"schema": SCHEMA, "group_by": group_by, "systems": described})
