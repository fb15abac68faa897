"""The cohort: patients, their slides, what is known of them, and who was left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from wsi2dmamba.cohort.reading import near_miss, some_of
from wsi2dmamba.core.errors import CohortError

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
    rows
        Rows of the table, before anything was left out.
    """

    cases: tuple[Case, ...]
    outcomes: frozenset[Outcome]
    class_names: tuple[str, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    rows: int = 0

    def __len__(self) -> int:
        return len(self.cases)

    def by_id(self) -> dict[str, Case]:
        """Return the cases by `case_id`."""
        return {case.case_id: case for case in self.cases}

    def without(self, exclusion: Exclusion, cases: Sequence[Case]) -> Cohort:
        """Return the cohort of `cases`, with one more exclusion on record (unless it excludes nothing)."""
        more = (exclusion,) if exclusion.ids else ()
        return replace(self, cases=tuple(cases), exclusions=self.exclusions + more)


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
        raise CohortError(f"{where}: no patient is left{why_empty(cohort.exclusions)}")
    if "label" in cohort.outcomes and len({case.label for case in cohort.cases}) < 2:
        only = cohort.class_names[cohort.cases[0].label or 0]
        raise CohortError(f"{where}: every patient is of class {only!r}; a classifier needs at least two classes")
    if "survival" in cohort.outcomes and not any(case.event for case in cohort.cases):
        raise CohortError(
            f"{where}: every patient is censored; survival needs events (is the event column a censorship column?)"
        )


def why_empty(exclusions: Sequence[Exclusion]) -> str:
    """Return what was left out, to end an error message with."""
    return "".join(f"; {exclusion}" for exclusion in exclusions)
