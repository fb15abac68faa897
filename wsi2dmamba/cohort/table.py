"""Read the cohort table: one row per slide, one case per patient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsi2dmamba.cohort.cases import Case, Cohort, Exclusion, check_outcomes_vary, why_empty
from wsi2dmamba.cohort.config import CohortConfig
from wsi2dmamba.cohort.outcomes import add_outcomes, exclusion
from wsi2dmamba.cohort.reading import read_table, require_column, slide_id_of, some_of
from wsi2dmamba.core.errors import CohortError

if TYPE_CHECKING:
    import pandas as pd


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
    rows = len(table)
    exclusions: list[Exclusion] = []
    table = _kept_rows(table, config, exclusions)
    table = table.assign(_slide=_slide_ids(table, config), _case=_case_ids(table, config))
    outcomes, class_names, table = add_outcomes(table, config, exclusions)
    if table.empty:
        raise CohortError(f"{config.csv} has no row with a known outcome{why_empty(exclusions)}")
    repeated = table["_slide"][table["_slide"].duplicated()].unique().tolist()
    if repeated:
        raise CohortError(f"{config.csv} lists slide {some_of(repeated)} more than once; keep one row per slide")
    cases = [_case(str(case_id), of_case, config) for case_id, of_case in table.groupby("_case", sort=True)]
    cohort = Cohort(tuple(cases), frozenset(outcomes), class_names, tuple(exclusions), rows)
    check_outcomes_vary(cohort, str(config.csv))
    return cohort


def _kept_rows(table: pd.DataFrame, config: CohortConfig, exclusions: list[Exclusion]) -> pd.DataFrame:
    for column, values in config.where.items():
        keep = require_column(table, column, config.csv, "cohort.where").isin([str(value) for value in values])
        exclusions.extend(exclusion(f"{column} is not {' or '.join(map(str, values))}", table, ~keep, config))
        table = table[keep]
    return table


def _slide_ids(table: pd.DataFrame, config: CohortConfig) -> pd.Series:
    column = require_column(table, config.slide_column, config.csv, "cohort.slide_column")
    if column.isna().any():
        line = int(column.index[column.isna()][0]) + 2
        raise CohortError(f"{config.csv}, line {line}: no slide id in column {config.slide_column!r}")
    return column.map(slide_id_of)


def _case_ids(table: pd.DataFrame, config: CohortConfig) -> pd.Series:
    if config.case_column is None:
        column = _slide_ids(table, config)
    else:
        where = "cohort.case_column; null = every slide a patient"
        column = require_column(table, config.case_column, config.csv, where)
    if column.isna().any():
        line = int(column.index[column.isna()][0]) + 2
        raise CohortError(f"{config.csv}, line {line}: no patient in column {config.case_column!r}")
    if config.case_pattern is None:
        return column
    cases = column.str.extract(config.case_pattern, expand=False)
    if cases.isna().any():
        value = column[cases.isna()].iloc[0]
        raise CohortError(f"{config.csv}: cohort.case_pattern {config.case_pattern!r} finds no patient in {value!r}")
    return cases


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
