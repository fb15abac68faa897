"""The cohort: patients, their slides, and what is known of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from wsi2dmamba.cohort.config import CohortConfig
from wsi2dmamba.cohort.reading import near_miss, read_table, require_column, slide_id_of, some_of
from wsi2dmamba.core.errors import CohortError

if TYPE_CHECKING:
    import pandas as pd

Outcome = Literal["label", "survival", "target"]


@dataclass(frozen=True)
class Case:
    """One patient: the unit of splits, of the loss and of every interval.

    Attributes
    ----------
    case_id
        The patient.
    slide_ids
        Their slides, in the order of the table.
    label
        Index into the cohort's class names.
    time, event
        Follow-up time (in the unit of the table) and whether the event was seen.
    target
        The number to predict.
    extra
        The other columns of the patient's first row, as text (site, stage, … for subgroups and splits).
    """

    case_id: str
    slide_ids: tuple[str, ...]
    label: int | None = None
    time: float | None = None
    event: bool | None = None
    target: float | None = None
    extra: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Exclusion:
    """Rows, slides or patients that were left out, and why.

    Attributes
    ----------
    reason
        In words.
    unit
        What `ids` are: ``"rows"``, ``"slides"`` or ``"patients"``.
    ids
        Which.
    """

    reason: str
    unit: str
    ids: tuple[str, ...]

    def __str__(self) -> str:
        return f"{len(self.ids)} {self.unit} left out: {self.reason} ({some_of(self.ids)})"


@dataclass(frozen=True)
class Cohort:
    """Patients and what is known of all of them.

    Attributes
    ----------
    cases
        Sorted by `case_id`.
    outcomes
        Which of label, survival and target the table gives.
    class_names
        Names of the classes, in the order of `Case.label`; empty without labels.
    exclusions
        What was left out on the way here.
    """

    cases: tuple[Case, ...]
    outcomes: frozenset[Outcome]
    class_names: tuple[str, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()

    def __len__(self) -> int:
        return len(self.cases)

    def by_id(self) -> dict[str, Case]:
        """Return the cases by `case_id`."""
        return {case.case_id: case for case in self.cases}

    def without(self, exclusion: Exclusion, cases: Sequence[Case]) -> Cohort:
        """Return the cohort of `cases`, with one more exclusion on record (unless it excludes nothing)."""
        more = (exclusion,) if exclusion.ids else ()
        return replace(self, cases=tuple(cases), exclusions=self.exclusions + more)


def load_cohort(config: CohortConfig) -> Cohort:
    """Read the cohort table.

    Parameters
    ----------
    config
        Which table, and what its columns mean.

    Returns
    -------
    Cohort
        One case per patient. Rows without an outcome are left out and on record in `exclusions`.

    Raises
    ------
    CohortError
        A missing column, a slide listed twice, a patient with two different outcomes, one class only, every patient
        censored, a value that is no number, or nothing left.
    """
    table = read_table(config.csv)
    exclusions: list[Exclusion] = []
    table = _kept_rows(table, config, exclusions)
    table = table.assign(_slide=_slide_ids(table, config), _case=_case_ids(table, config))
    outcomes, class_names, table = _add_outcomes(table, config, exclusions)
    if table.empty:
        raise CohortError(f"{config.csv} has no row with a known outcome{_why_empty(exclusions)}")
    repeated = table["_slide"][table["_slide"].duplicated()].unique().tolist()
    if repeated:
        raise CohortError(f"{config.csv} lists slide {some_of(repeated)} more than once; keep one row per slide")
    cases = [_case(str(case_id), rows, config) for case_id, rows in table.groupby("_case", sort=True)]
    cohort = Cohort(tuple(cases), frozenset(outcomes), class_names, tuple(exclusions))
    check_outcomes_vary(cohort, str(config.csv))
    return cohort


def values_of(cohort: Cohort, column: str) -> dict[str, str]:
    """Return case id → the text in `column`.

    Raises
    ------
    CohortError
        If the table has no such column, or a patient no value in it.
    """
    present = sorted({name for case in cohort.cases for name in case.extra})
    if column not in present:
        raise CohortError(
            f"the table has no column {column!r} (splits.column){near_miss(column, present)}; "
            f"it has {', '.join(present)}"
        )
    without = [case.case_id for case in cohort.cases if column not in case.extra]
    if without:
        raise CohortError(f"no value in column {column!r} (splits.column) for patient {some_of(without)}")
    return {case.case_id: case.extra[column] for case in cohort.cases}


def check_outcomes_vary(cohort: Cohort, where: str) -> None:
    """Refuse a cohort from which nothing can be learnt.

    Raises
    ------
    CohortError
        No patient at all, one class only, or every patient censored.
    """
    if not cohort.cases:
        raise CohortError(f"{where}: no patient is left{_why_empty(cohort.exclusions)}")
    if "label" in cohort.outcomes and len({case.label for case in cohort.cases}) < 2:
        only = cohort.class_names[cohort.cases[0].label or 0]
        raise CohortError(f"{where}: every patient is of class {only!r}; a classifier needs at least two classes")
    if "survival" in cohort.outcomes and not any(case.event for case in cohort.cases):
        raise CohortError(
            f"{where}: every patient is censored; survival needs events (is the event column a censorship column?)"
        )


def _why_empty(exclusions: Sequence[Exclusion]) -> str:
    return "".join(f"; {exclusion}" for exclusion in exclusions)


def _kept_rows(table: pd.DataFrame, config: CohortConfig, exclusions: list[Exclusion]) -> pd.DataFrame:
    for column, values in config.where.items():
        keep = require_column(table, column, config.csv, "cohort.where").isin([str(value) for value in values])
        exclusions.extend(_exclusion(f"{column} is not {' or '.join(map(str, values))}", table, ~keep, config))
        table = table[keep]
    return table


def _exclusion(reason: str, table: pd.DataFrame, left_out: pd.Series, config: CohortConfig) -> list[Exclusion]:
    if not left_out.any():
        return []
    ids = require_column(table, config.slide_column, config.csv, "cohort.slide_column")[left_out]
    return [Exclusion(reason, "rows", tuple(ids.fillna("(no slide id)").astype(str)))]


def _slide_ids(table: pd.DataFrame, config: CohortConfig) -> pd.Series:
    column = require_column(table, config.slide_column, config.csv, "cohort.slide_column")
    if column.isna().any():
        line = int(column.index[column.isna()][0]) + 2
        raise CohortError(f"{config.csv}, line {line}: no slide id in column {config.slide_column!r}")
    return column.map(slide_id_of)


def _case_ids(table: pd.DataFrame, config: CohortConfig) -> pd.Series:
    if config.case_column is None:
        return _slide_ids(table, config)
    column = require_column(table, config.case_column, config.csv, "cohort.case_column; null = every slide a patient")
    if column.isna().any():
        line = int(column.index[column.isna()][0]) + 2
        raise CohortError(f"{config.csv}, line {line}: no patient in column {config.case_column!r}")
    return column


def _add_outcomes(
    table: pd.DataFrame, config: CohortConfig, exclusions: list[Exclusion]
) -> tuple[list[Outcome], tuple[str, ...], pd.DataFrame]:
    outcomes: list[Outcome] = []
    names: tuple[str, ...] = ()
    if config.label_column:
        outcomes.append("label")
        names, table = _add_labels(table, config, exclusions)
    if config.time_column:
        outcomes.append("survival")
        table = _add_survival(table, config, exclusions)
    if config.target_column:
        outcomes.append("target")
        require_column(table, config.target_column, config.csv, "cohort.target_column")
        table = _drop_unknown(table, config.target_column, config, exclusions)
        table = table.assign(_target=_numbers(table, config.target_column, config))
    return outcomes, names, table


def _add_labels(
    table: pd.DataFrame, config: CohortConfig, exclusions: list[Exclusion]
) -> tuple[tuple[str, ...], pd.DataFrame]:
    assert config.label_column is not None
    require_column(table, config.label_column, config.csv, "cohort.label_column")
    table = _drop_unknown(table, config.label_column, config, exclusions)
    labels = table[config.label_column]
    if config.label_map is not None:
        mapping = {str(key): str(value) for key, value in config.label_map.items()}
        labels = labels.map(mapping)
        unmapped = sorted(table[config.label_column][labels.isna()].unique())
        if unmapped:
            reason = f"{config.label_column} is {some_of(unmapped)}, which label_map does not name"
            exclusions.extend(_exclusion(reason, table, labels.isna(), config))
        table, labels = table[labels.notna()], labels.dropna()
    names = tuple(config.class_names) if config.class_names else _natural_order(set(labels))
    unknown = sorted(set(labels) - set(names))
    if unknown:
        raise CohortError(
            f"{config.csv}: class {unknown[0]!r} is not in class_names{near_miss(unknown[0], names)}; "
            f"class_names are {', '.join(names)}"
        )
    return names, table.assign(_label=labels.map({name: index for index, name in enumerate(names)}))


def _natural_order(names: set[str]) -> tuple[str, ...]:
    try:
        return tuple(sorted(names, key=float))
    except ValueError:
        return tuple(sorted(names))


def _add_survival(table: pd.DataFrame, config: CohortConfig, exclusions: list[Exclusion]) -> pd.DataFrame:
    assert config.time_column is not None
    event_column = config.event_column or config.censorship_column
    assert event_column is not None
    require_column(table, config.time_column, config.csv, "cohort.time_column")
    require_column(table, event_column, config.csv, "cohort.event_column or censorship_column")
    for column in (config.time_column, event_column):
        table = _drop_unknown(table, column, config, exclusions)
    times = _numbers(table, config.time_column, config)
    if (times < 0).any():
        at = str(table.loc[times < 0, "_slide"].iloc[0])
        raise CohortError(f"{config.csv}: slide {at} has a negative {config.time_column}; correct or remove it")
    flags = table[event_column].map(_flag)
    if flags.isna().any():
        wrong = str(table.loc[flags.isna(), event_column].iloc[0])
        raise CohortError(f"{config.csv}: {event_column} is {wrong!r}; it must be 0 or 1 (or false/true, no/yes)")
    events = flags.astype(bool)
    return table.assign(_time=times, _event=~events if config.censorship_column else events)


def _flag(text: str) -> bool | None:
    known = {"1": True, "1.0": True, "true": True, "yes": True, "0": False, "0.0": False, "false": False, "no": False}
    return known.get(text.lower())


def _drop_unknown(table: pd.DataFrame, column: str, config: CohortConfig, exclusions: list[Exclusion]) -> pd.DataFrame:
    unknown = table[column].isna()
    exclusions.extend(_exclusion(f"no value in {column}", table, unknown, config))
    return table[~unknown]


def _numbers(table: pd.DataFrame, column: str, config: CohortConfig) -> pd.Series:
    import pandas as pd

    values = pd.to_numeric(table[column], errors="coerce")
    wrong = ~values.map(lambda value: math.isfinite(value))
    if wrong.any():
        raise CohortError(f"{config.csv}: {column} is {table[column][wrong].iloc[0]!r}; it must be a number")
    return values


def _case(case_id: str, rows: pd.DataFrame, config: CohortConfig) -> Case:
    values: dict[str, Any] = {}
    for name in ("label", "time", "event", "target"):
        if f"_{name}" not in rows:
            continue
        distinct = rows[f"_{name}"].unique()
        if len(distinct) > 1:
            shown = " and ".join(_shown(rows, name, config))
            raise CohortError(f"{config.csv}: patient {case_id} has two different values of {name} ({shown})")
        values[name] = {"label": int, "event": bool}.get(name, float)(distinct[0])
    own = {column for column in rows.columns if column.startswith("_")} | {config.slide_column}
    first = rows.iloc[0]
    extra = {str(key): str(first[key]) for key in rows.columns if key not in own and isinstance(first[key], str)}
    return Case(case_id, tuple(rows["_slide"]), extra=extra, **values)


def _shown(rows: pd.DataFrame, name: str, config: CohortConfig) -> list[str]:
    event_column = config.event_column or config.censorship_column
    columns = {"label": config.label_column, "time": config.time_column, "event": event_column}
    column = columns.get(name, config.target_column)
    return [str(value) for value in rows[column].unique()]
