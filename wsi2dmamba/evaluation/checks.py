"""What can be wrong with a predictions table, each said in one line."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsi2dmamba.core.errors import EvaluationError

PROBABILITY_SUM_TOLERANCE = 1e-3
_TRUE = {"1", "1.0", "true", "yes"}
_FALSE = {"0", "0.0", "false", "no"}


def numeric(table: pd.DataFrame, name: str, *, may_be_empty: bool = False) -> NDArray[np.float64]:
    """Return a column as finite float64.

    Raises
    ------
    EvaluationError
        If a value is not a number or not finite, naming the first such case.
    """
    column = table[name]
    try:
        values = column.replace("", np.nan).to_numpy(np.float64) if column.dtype == object else column.to_numpy(float)
    except (TypeError, ValueError):
        values = np.array([_number_or_nan(value) for value in column])
        bad = np.isnan(values) & (column.astype(str) != "").to_numpy()
        raise EvaluationError(_where(table, name, bad, "is not a number")) from None
    bad = np.isinf(values) if may_be_empty else ~np.isfinite(values)
    if bad.any():
        raise EvaluationError(_where(table, name, bad, "is missing, NaN or infinite"))
    return np.asarray(values, dtype=np.float64)


def whole_numbers(column: pd.Series) -> pd.Series:
    """Return identifiers or labels as text; a column that pandas turned into floats gets its integers back."""
    if pd.api.types.is_float_dtype(column) and np.isfinite(column).all() and (column % 1 == 0).all():
        column = column.astype(np.int64)
    return column.astype(str).str.strip()


def event_flags(table: pd.DataFrame) -> NDArray[np.bool_]:
    """Return the event column as bool, from `event` (1 = event) or `censorship` (1 = censored).

    Raises
    ------
    EvaluationError
        If a value is neither 0 nor 1.
    """
    name = "event" if "event" in table else "censorship"
    text = table[name].astype(str).str.strip().str.lower()
    bad = ~text.isin(_TRUE | _FALSE).to_numpy()
    if bad.any():
        raise EvaluationError(_where(table, name, bad, "is neither 0 nor 1"))
    flags = text.isin(_TRUE).to_numpy()
    return flags if name == "event" else ~flags


def check_probabilities(table: pd.DataFrame, columns: list[str]) -> None:
    """Refuse probabilities outside [0, 1] or that do not add up to one.

    Raises
    ------
    EvaluationError
        Naming how many rows and the first case.
    """
    values = table[columns].to_numpy(np.float64)
    outside = ((values < -1e-6) | (values > 1 + 1e-6)).any(axis=1)
    if outside.any():
        case = table["case_id"].iloc[int(np.flatnonzero(outside)[0])]
        raise EvaluationError(
            f"{int(outside.sum())} row(s), the first of case {case!r}, have a probability outside 0..1; "
            "write softmax probabilities"
        )
    sums = values.sum(axis=1)
    wrong = np.abs(sums - 1.0) > PROBABILITY_SUM_TOLERANCE
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        raise EvaluationError(
            f"the class probabilities of {int(wrong.sum())} row(s) do not add up to 1: those of case "
            f"{table['case_id'].iloc[first]!r} add up to {sums[first]:.4g}; write softmax probabilities"
        )


def check_leakage(table: pd.DataFrame) -> None:
    """Refuse a patient that is both trained (or validated) and tested on within a fold and seed.

    Raises
    ------
    EvaluationError
        Naming the first such patient.
    """
    seen = table.groupby(["case_id", "fold", "seed"])["split"].agg(set)
    leaking = seen[[len(splits) > 1 and "test" in splits for splits in seen]]
    if len(leaking):
        case, fold, _ = leaking.index[0]
        splits = " and ".join(sorted(leaking.iloc[0]))
        raise EvaluationError(
            f"{len(leaking)} patient(s), the first {case!r} in fold {fold}, are in {splits} of one fold: "
            "a leaking split cannot be judged; divide patients, not slides"
        )


def check_outcomes(judged: pd.DataFrame, task: str) -> None:
    """Refuse test rows that no metric can tell apart.

    Raises
    ------
    EvaluationError
        If there is one class only, or every case is censored.
    """
    if task in ("classification", "ordinal") and judged["label"].nunique() < 2:
        raise EvaluationError(
            f"every test row has the label {judged['label'].iloc[0]!r}: with one class only nothing can be told apart; "
            "test patients of two classes at least"
        )
    if task == "survival" and not judged["event"].any():
        raise EvaluationError(
            "every test row is censored: without an event no survival metric is defined; test patients with events"
        )


def _where(table: pd.DataFrame, name: str, bad: NDArray[np.bool_], what: str) -> str:
    first = int(np.flatnonzero(bad)[0])
    case = table["case_id"].iloc[first] if "case_id" in table else f"of row {first + 2}"
    value = table[name].iloc[first]
    return f"column {name!r} {what} in {int(bad.sum())} row(s), the first {value!r} of case {case!r}; correct them"


def _number_or_nan(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return float("nan")
