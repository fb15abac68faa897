"""A predictions table: read, checked, and brought to one form, whoever made it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from wsi2dmamba.cohort.reading import some_of
from wsi2dmamba.core.errors import EvaluationError
from wsi2dmamba.evaluation.checks import (
    check_leakage,
    check_outcomes,
    check_probabilities,
    event_flags,
    numeric,
    whole_numbers,
)
from wsi2dmamba.evaluation.config import TableColumns
from wsi2dmamba.evaluation.rows import SURVIVAL_PREFIX, Predictions, Task, is_survival_column

SPLITS = ("train", "validation", "test")
_SPLIT_SYNONYMS = {"val": "validation", "valid": "validation", "training": "train", "testing": "test"}
_USUAL: dict[str, tuple[str, ...]] = {
    "case": ("case_id", "patient", "patient_id"),
    "fold": ("fold",),
    "seed": ("seed",),
    "split": ("split",),
    "label": ("label",),
    "time": ("time", "survival_months"),
    "event": ("event",),
    "censorship": ("censorship",),
    "risk": ("risk",),
    "target": ("target",),
    "prediction": ("prediction",),
}


def read_predictions(
    source: pd.DataFrame | Path | Sequence[Path], columns: TableColumns | None = None, task: Task | None = None
) -> Predictions:
    """Read and check a predictions table.

    Parameters
    ----------
    source
        A table, a CSV (``.csv`` or ``.csv.zip``), or several CSVs whose rows belong together.
    columns
        What the table calls its columns, where that is not the usual name. `survival_months` is understood as
        time and `censorship` (1 = censored) as the opposite of event without being told.
    task
        What was predicted; None finds it from the columns (ordinal must be said).

    Raises
    ------
    EvaluationError
        If a file or column is missing, a value is no number, probabilities do not add up to one, only one class
        or no event is among the test rows, or a patient is both trained and tested on in one fold.
    """
    raw = load_tables(source)
    try:
        return _checked(raw, columns or TableColumns(), task)
    except EvaluationError as error:
        raise EvaluationError(f"{_name(source)}: {error}") from error


def _checked(raw: pd.DataFrame, columns: TableColumns, asked: Task | None) -> Predictions:
    if raw.empty:
        raise EvaluationError("the table has no rows; give one with a row per patient")
    table = _canonical_names(raw, columns)
    kind = _find_task(table, asked)
    table = _common_columns(table)
    if kind in ("classification", "ordinal"):
        predictions = _classification(table, kind)
    elif kind == "survival":
        predictions = _survival(table)
    else:
        for name in ("target", "prediction"):
            table[name] = numeric(table, name)
        predictions = Predictions(table, kind)
    check_leakage(predictions.table)
    judged = predictions.table[predictions.table["split"] == "test"]
    if judged.empty:
        raise EvaluationError("no row has split = test, and only test rows are judged; correct the split column")
    check_outcomes(judged, kind)
    return _one_row_per_patient(predictions)


def load_tables(source: pd.DataFrame | Path | Sequence[Path]) -> pd.DataFrame:
    """Return the rows of a table or of CSVs taken together, text as it stands in the files.

    Raises
    ------
    EvaluationError
        If a file is missing or no CSV.
    """
    if isinstance(source, pd.DataFrame):
        return source.copy()
    paths = [source] if isinstance(source, Path) else list(source)
    tables = []
    for path in paths:
        if not path.is_file():
            raise EvaluationError(f"{path}: no such predictions file")
        try:
            # Everything is text at first: a class called NA or 01 must stay what it is.
            tables.append(pd.read_csv(path, dtype=str, keep_default_na=False))
        except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError, ValueError) as error:
            raise EvaluationError(f"{path}: not a readable CSV ({' '.join(str(error).split())})") from error
    return pd.concat(tables, ignore_index=True).fillna("")


def _name(source: pd.DataFrame | Path | Sequence[Path]) -> str:
    if isinstance(source, pd.DataFrame):
        return "predictions"
    return str(source) if isinstance(source, Path) else ", ".join(str(path) for path in source)


def _columns(table: pd.DataFrame) -> str:
    return some_of(map(str, table), most=12)


def _canonical_names(table: pd.DataFrame, columns: TableColumns) -> pd.DataFrame:
    renamed = {}
    for role, usual in _USUAL.items():
        asked = getattr(columns, role)
        if asked is not None and asked not in table:
            raise EvaluationError(f"no column {asked!r} for the {role}; the table has {_columns(table)}")
        found = asked if asked is not None else next((name for name in usual if name in table), None)
        if found is not None:
            renamed[found] = "case_id" if role == "case" else role
    prefix = columns.probability_prefix
    renamed |= {c: f"prob_{str(c).removeprefix(prefix)}" for c in table if prefix and str(c).startswith(prefix)}
    clashes = [c for c in table if c in renamed.values() and c not in renamed]
    return table.drop(columns=clashes).rename(columns=renamed)


def _find_task(table: pd.DataFrame, asked: Task | None) -> Task:
    needs: dict[str, tuple[str, ...]] = {
        "classification": ("label",),
        "ordinal": ("label",),
        "survival": ("time", "risk"),
        "regression": ("target", "prediction"),
    }
    has_probabilities = any(str(c).startswith("prob_") for c in table)
    has_event = "event" in table or "censorship" in table
    if asked is None:
        if "label" in table and has_probabilities:
            return "classification"
        if "time" in table and "risk" in table and has_event:
            return "survival"
        if "target" in table and "prediction" in table:
            return "regression"
        raise EvaluationError(
            "needs label and prob_<class> columns, or time, event and risk, or target and prediction; "
            f"it has {_columns(table)}"
        )
    missing = [name for name in needs[asked] if name not in table]
    if asked in ("classification", "ordinal") and not has_probabilities:
        missing.append("prob_<class>")
    if asked == "survival" and not has_event:
        missing.append("event (or censorship)")
    if missing:
        raise EvaluationError(f"a {asked} table needs the missing column(s) {', '.join(missing)}")
    return asked


def _common_columns(table: pd.DataFrame) -> pd.DataFrame:
    if "case_id" not in table:
        raise EvaluationError(f"no case_id column; there are {_columns(table)}")
    table["case_id"] = whole_numbers(table["case_id"])
    if (table["case_id"] == "").any():
        raise EvaluationError(f"{int((table['case_id'] == '').sum())} row(s) have no case_id; fill or remove them")
    for name in ("fold", "seed"):
        table[name] = numeric(table, name).astype(np.int64) if name in table else 0
    if "split" not in table:
        table["split"] = "test"
    table["split"] = table["split"].astype(str).str.strip().str.lower().replace(_SPLIT_SYNONYMS)
    unknown = sorted(set(table["split"]) - set(SPLITS))
    if unknown:
        raise EvaluationError(f"split {unknown[0]!r} is none of {', '.join(SPLITS)}")
    return table


def _classification(table: pd.DataFrame, task: Task) -> Predictions:
    table["label"] = whole_numbers(table["label"])
    names = tuple(str(c).removeprefix("prob_") for c in table if str(c).startswith("prob_"))
    if len(names) < 2:
        raise EvaluationError("a classification needs at least two prob_<class> columns, one for every class")
    unknown = sorted(set(table["label"]) - set(names))
    if unknown:
        raise EvaluationError(f"label {unknown[0]!r} has no column prob_{unknown[0]}; there are {', '.join(names)}")
    for name in names:
        table[f"prob_{name}"] = numeric(table, f"prob_{name}")
    check_probabilities(table, [f"prob_{name}" for name in names])
    return Predictions(table, task, class_names=names)


def _survival(table: pd.DataFrame) -> Predictions:
    table["time"] = numeric(table, "time")
    table["risk"] = numeric(table, "risk")
    if (table["time"] < 0).any():
        case = table.loc[table["time"] < 0, "case_id"].iloc[0]
        raise EvaluationError(f"case {case!r} has a negative survival time; correct or remove it")
    table["event"] = event_flags(table)
    columns = [str(c) for c in table if is_survival_column(str(c))]
    for name in columns:
        # Folds may have bins of their own: a column belongs to the folds that fill it.
        table[name] = numeric(table, name, may_be_empty=True)
        if ((table[name] < -1e-6) | (table[name] > 1 + 1e-6)).any():
            raise EvaluationError(f"column {name} holds values outside [0, 1]: it must be a survival probability")
    times = sorted(float(name.removeprefix(SURVIVAL_PREFIX)) for name in columns)
    return Predictions(table, "survival", survival_times=tuple(times))


def _one_row_per_patient(predictions: Predictions) -> Predictions:
    """Average several rows of a patient (its slides), unless they have outcomes of their own."""
    table = predictions.table
    keys = ["case_id", "fold", "seed", "split"]
    repeated = table.duplicated(keys, keep=False)
    if not repeated.any():
        return predictions
    outcomes = [name for name in ("label", "time", "event", "target") if name in table]
    patients = table.loc[repeated, "case_id"].nunique()
    if (table.loc[repeated, ["case_id", *outcomes]].drop_duplicates()["case_id"].value_counts() > 1).any():
        note = (
            f"{patients} patients have several rows with outcomes of their own: rows are judged, patients are resampled"
        )
        return replace(predictions, notes=(*predictions.notes, note))
    averaged = [*predictions.probability_columns, *predictions.survival_columns]
    averaged += [name for name in ("risk", "prediction") if name in table]
    how = {str(name): ("mean" if name in averaged else "first") for name in table if name not in keys}
    joined = table.groupby(keys, sort=False, as_index=False).agg(how)
    note = f"{patients} patients have several rows: their predictions were averaged to one per patient"
    return replace(predictions, table=joined, notes=(*predictions.notes, note))
