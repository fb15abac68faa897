"""A fold: who trains, who chooses the model, who is tested."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wsi2dmamba.cohort.cases import Case, Cohort
from wsi2dmamba.cohort.reading import some_of
from wsi2dmamba.core.errors import CohortError


@dataclass(frozen=True)
class Fold:
    """Who trains, who chooses the model, and who is tested; ids of patients.

    Attributes
    ----------
    index
        Number of the fold.
    train, validation, test
        `case_id`s, sorted, disjoint.
    """

    index: int
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]

    def parts(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Yield (``"train"``, ids), (``"validation"``, ids), (``"test"``, ids)."""
        yield "train", self.train
        yield "validation", self.validation
        yield "test", self.test


def fold_of(index: int, train: Sequence[Case], validation: Sequence[Case], test: Sequence[Case]) -> Fold:
    """Return a fold of cases, by sorted ids."""
    ids = [tuple(sorted(case.case_id for case in part)) for part in (train, validation, test)]
    return Fold(index, *ids)


def check_fold(fold: Fold, cohort: Cohort) -> None:
    """Refuse a fold from which nothing can be learnt or judged.

    Raises
    ------
    CohortError
        An empty part, a patient in two parts, or a training part with one class only, lacking a class that is tested,
        or without an event.
    """
    counts = Counter(case_id for _, ids in fold.parts() for case_id in ids)
    twice = [case_id for case_id, count in counts.items() if count > 1]
    if twice:
        raise CohortError(f"fold {fold.index}: patient {twice[0]} is in two of train, validation and test (leakage)")
    for name, ids in fold.parts():
        if not ids:
            raise CohortError(f"fold {fold.index}: no patient in {name}; change splits (fewer folds, other fractions)")
    cases = cohort.by_id()
    training = [cases[case_id] for case_id in fold.train]
    if "survival" in cohort.outcomes and not any(case.event for case in training):
        raise CohortError(
            f"fold {fold.index}: no event among the patients in train; change splits (fewer folds, another seed)"
        )
    if "label" in cohort.outcomes:
        absent = {case.label for case in cohort.cases} - {case.label for case in training}
        names = [name for index, name in enumerate(cohort.class_names) if index in absent]
        if names:
            raise CohortError(
                f"fold {fold.index}: no patient of class {names[0]!r} in train; "
                "change splits (fewer folds, another seed), or merge the class through label_map"
            )


def weak_spots(folds: Sequence[Fold], cohort: Cohort) -> list[str]:
    """Return what a user should know of folds: patients in none of them, parts without a class or an event."""
    cases = cohort.by_id()
    found = []
    unused = sorted(set(cases) - {case_id for fold in folds for _, ids in fold.parts() for case_id in ids})
    if unused:
        found.append(f"{len(unused)} patient(s) in no part of any fold, so not used: {some_of(unused)}")
    for fold in folds:
        for name, ids in (("validation", fold.validation), ("test", fold.test)):
            chosen = [cases[case_id] for case_id in ids]
            if "survival" in cohort.outcomes and not any(case.event for case in chosen):
                found.append(f"fold {fold.index}: no event in {name}")
            if "label" in cohort.outcomes:
                seen = {case.label for case in chosen}
                lacking = [label for index, label in enumerate(cohort.class_names) if index not in seen]
                found.extend(f"fold {fold.index}: no patient of class {label!r} in {name}" for label in lacking)
    return found
