"""Cohort tables of the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from wsi2dmamba.cohort.cases import Case, Cohort
from wsi2dmamba.cohort.config import CohortConfig


def config_of(folder: Path, rows: list[dict[str, Any]], **columns: Any) -> CohortConfig:
    """Write `rows` as a CSV and return the settings that read it."""
    path = folder / "cohort.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return CohortConfig(csv=path, **columns)


def labelled_cohort(counts: dict[str, int]) -> Cohort:
    """Return a cohort with so many patients of each class."""
    names = tuple(counts)
    cases = [
        Case(
            f"{name}-{index:03d}", (f"{name}-{index:03d}-s0",), label=names.index(name), extra={"site": f"s{index % 3}"}
        )
        for name in names
        for index in range(counts[name])
    ]
    return Cohort(tuple(cases), frozenset({"label"}), names)


def survival_cohort(cases: int, event_every: int = 2) -> Cohort:
    """Return a cohort in which every so many patients has an event."""
    made = [
        Case(f"p{index:03d}", (f"p{index:03d}-s0",), time=1.0 + (index * 37) % 101, event=index % event_every == 0)
        for index in range(cases)
    ]
    return Cohort(tuple(made), frozenset({"survival"}))
