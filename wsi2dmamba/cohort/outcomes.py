"""What a table knows of its patients: columns of classes, of times and events, of numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from wsi2dmamba.cohort.cases import Exclusion, Outcome
from wsi2dmamba.cohort.config import CohortConfig
from wsi2dmamba.cohort.reading import near_miss, require_column, some_of
from wsi2dmamba.core.errors import CohortError

if TYPE_CHECKING:
    import pandas as pd


def add_outcomes(
    table: pd.DataFrame, config: CohortConfig, exclusions: list[Exclusion]
) -> tuple[list[Outcome], tuple[str, ...], pd.DataFrame]:
    """Give the table columns of the outcomes that the settings name.

    Parameters
    ----------
    table
        One row per slide, with `_slide`.
    config
        Which columns hold what.
    exclusions
        Rows without an outcome are left out, and added here.

    Returns
    -------
    tuple
        Which outcomes there are, the class names, and the table with `_label`, `_time` and `_event`, `_target`.

    Raises
    ------
    CohortError
        A missing column, an unknown class, a negative time, or a value that is no number.
    """
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
            exclusions.extend(exclusion(reason, table, labels.isna(), config))
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
    exclusions.extend(exclusion(f"no value in {column}", table, unknown, config))
    return table[~unknown]


def _numbers(table: pd.DataFrame, column: str, config: CohortConfig) -> pd.Series:
    import pandas as pd

    values = pd.to_numeric(table[column], errors="coerce")
    wrong = ~values.map(lambda value: math.isfinite(value))
    if wrong.any():
        raise CohortError(f"{config.csv}: {column} is {table[column][wrong].iloc[0]!r}; it must be a number")
    return values


def exclusion(reason: str, table: pd.DataFrame, left_out: pd.Series, config: CohortConfig) -> list[Exclusion]:
    """Return the exclusion of some rows, as a list that is empty when there are none."""
    if not left_out.any():
        return []
    ids = require_column(table, config.slide_column, config.csv, "cohort.slide_column")[left_out]
    return [Exclusion(reason, "rows", tuple(ids.fillna("(no slide id)").astype(str)))]
