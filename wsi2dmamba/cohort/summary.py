"""What a cohort and its folds hold, in lines for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wsi2dmamba.cohort.cases import Case, Cohort
from wsi2dmamba.cohort.folds import Fold


def cohort_lines(cohort: Cohort) -> list[str]:
    """Return patients, slides, classes or events, and what was left out."""
    slides = sum(len(case.slide_ids) for case in cohort.cases)
    several = sum(len(case.slide_ids) > 1 for case in cohort.cases)
    lines = [
        f"{len(cohort)} patients with {slides} slides ({several} patients have several): "
        f"{_counts(cohort.cases, cohort)}"
    ]
    return lines + [str(exclusion) for exclusion in cohort.exclusions]


def fold_lines(folds: Sequence[Fold], cohort: Cohort) -> list[str]:
    """Return one line per fold: patients of each part, by class, or with events."""
    cases = cohort.by_id()
    lines = []
    for fold in folds:
        parts = []
        for name, ids in fold.parts():
            chosen = [cases[case_id] for case_id in ids]
            parts.append(f"{name} {len(chosen)} ({_counts(chosen, cohort)})")
        lines.append(f"fold {fold.index}: {', '.join(parts)}")
    return lines


def cohort_json(cohort: Cohort, unlabelled: Sequence[str] = ()) -> dict[str, Any]:
    """Return the cohort as JSON values for the report: numbers, classes or events, and the flow of exclusions."""
    summary: dict[str, Any] = {
        "rows": cohort.rows,
        "patients": len(cohort),
        "slides": sum(len(case.slide_ids) for case in cohort.cases),
        "patients_with_several_slides": sum(len(case.slide_ids) > 1 for case in cohort.cases),
        "unlabelled_features": list(unlabelled),
        "exclusions": [{"reason": one.reason, "unit": one.unit, "ids": list(one.ids)} for one in cohort.exclusions],
    }
    if "label" in cohort.outcomes:
        labels = [case.label for case in cohort.cases]
        summary["classes"] = {name: labels.count(index) for index, name in enumerate(cohort.class_names)}
    if "survival" in cohort.outcomes:
        summary["events"] = sum(bool(case.event) for case in cohort.cases)
        summary["censored"] = sum(not case.event for case in cohort.cases)
    return summary


def _counts(cases: Sequence[Case], cohort: Cohort) -> str:
    counts = []
    if "label" in cohort.outcomes:
        labels = [case.label for case in cases]
        counts.append(", ".join(f"{name} {labels.count(index)}" for index, name in enumerate(cohort.class_names)))
    if "survival" in cohort.outcomes:
        counts.append(f"{sum(bool(case.event) for case in cases)} events")
    if "target" in cohort.outcomes and cases:
        targets = [case.target or 0.0 for case in cases]
        counts.append(f"target {min(targets):.4g} to {max(targets):.4g}")
    return "; ".join(counts)
