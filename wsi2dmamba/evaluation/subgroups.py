"""The headline metric in subgroups of the patients, given by columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wsi2dmamba.core.errors import EvaluationError
from wsi2dmamba.evaluation.bootstrap import Interval
from wsi2dmamba.evaluation.judge import Judge
from wsi2dmamba.evaluation.results import Evaluation
from wsi2dmamba.evaluation.rows import Predictions

MAX_VALUES = 20


@dataclass(frozen=True)
class Subgroup:
    """Patients with one value in a column, and the headline metric among them."""

    column: str
    value: str
    patients: int
    metric: Interval


def with_columns(predictions: Predictions, of_case: Mapping[str, Mapping[str, str]]) -> Predictions:
    """Return the predictions with further columns: case_id → column → text (empty where unknown)."""
    from dataclasses import replace

    table = predictions.table.copy()
    names = {name for extra in of_case.values() for name in extra} - set(map(str, table))
    for name in sorted(names):
        table[name] = [of_case.get(case, {}).get(name, "") for case in table["case_id"]]
    return replace(predictions, table=table)


def judge_subgroups(found: Evaluation, columns: Sequence[str]) -> list[Subgroup]:
    """Return the headline metric for every value of every column.

    Thresholds, horizons and the censoring distribution stay those of all patients.

    Raises
    ------
    EvaluationError
        If the predictions have no such column, or it has more than 20 values (a number is not a subgroup).
    """
    table = found.predictions.table
    test = table[table["split"] == "test"]
    judge = Judge(found.predictions, found.config)
    subgroups = []
    for column in columns:
        if column not in table:
            raise EvaluationError(f"no column {column!r} for subgroups; there are {', '.join(map(str, table))}")
        values = test[column].astype(str)
        distinct = [value for value in sorted(values.unique()) if value not in ("", "nan")]
        if len(distinct) > MAX_VALUES:
            raise EvaluationError(f"column {column!r} has {len(distinct)} values; subgroups need at most {MAX_VALUES}")
        for value in distinct:
            rows = judge.test.where((values == value).to_numpy(dtype=np.bool_))
            subgroups.append(Subgroup(column, value, len(rows.case_ids), judge.intervals(rows)[found.headline]))
    return subgroups
