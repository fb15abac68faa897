"""Which slides of the table have features, and which features have no row in the table."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from pathlib import Path

from wsi2dmamba.cohort.cases import Cohort, Exclusion, check_outcomes_vary
from wsi2dmamba.cohort.reading import some_of
from wsi2dmamba.core.errors import CohortError

FEATURE_SUFFIXES = (".h5", ".hdf5")


@dataclass(frozen=True)
class Matched:
    """A cohort of which every slide has features.

    Attributes
    ----------
    cohort
        Patients with at least one slide that has features; only those slides.
    paths
        Slide id → feature file.
    unlabelled
        Feature files that no row of the table names.
    suggestions
        Slide id without features → the feature file whose name is nearest, when one is near.
    """

    cohort: Cohort
    paths: dict[str, Path]
    unlabelled: tuple[str, ...]
    suggestions: dict[str, str]


def feature_paths(folder: Path) -> dict[str, Path]:
    """Return slide id → feature file of a folder; an `.h5` wins over an `.hdf5` of the same slide.

    Raises
    ------
    CohortError
        If the folder does not exist or holds no feature file.
    """
    if not folder.is_dir():
        raise CohortError(f"there is no feature folder {folder}; run `wsi2dmamba extract` first or set features.dir")
    paths: dict[str, Path] = {}
    for suffix in reversed(FEATURE_SUFFIXES):
        paths.update({path.stem: path for path in sorted(folder.glob(f"*{suffix}")) if not path.name.startswith(".")})
    if not paths:
        raise CohortError(f"{folder} holds no feature file (*.h5); run `wsi2dmamba extract` first or set features.dir")
    return paths


def match_features(cohort: Cohort, folder: Path) -> Matched:
    """Keep what has features, and report the rest.

    Raises
    ------
    CohortError
        If no slide of the table has features, or those that have leave one class only or no event.
    """
    paths = feature_paths(folder)
    wanted = [slide for case in cohort.cases for slide in case.slide_ids]
    missing = [slide for slide in wanted if slide not in paths]
    unlabelled = sorted(set(paths) - set(wanted))
    suggestions = _near_misses(missing, unlabelled)
    if len(missing) == len(wanted):
        raise CohortError(
            f"none of the {len(wanted)} slides of the table has a file in {folder}; the table has "
            f"{some_of(wanted, 1)}, the folder {some_of(unlabelled, 1)}: check cohort.slide_column and features.dir"
        )
    gone = set(missing)
    kept = [
        replace(case, slide_ids=tuple(slide for slide in case.slide_ids if slide not in gone)) for case in cohort.cases
    ]
    lost = tuple(case.case_id for case in kept if not case.slide_ids)
    matched = cohort.without(Exclusion(f"no features in {folder.name}", "slides", tuple(missing)), kept)
    with_slides = [case for case in kept if case.slide_ids]
    matched = matched.without(Exclusion("none of their slides has features", "patients", lost), with_slides)
    check_outcomes_vary(matched, str(folder))
    return Matched(matched, {slide: paths[slide] for slide in wanted if slide in paths}, tuple(unlabelled), suggestions)


def _near_misses(missing: list[str], spare: list[str]) -> dict[str, str]:
    # Only names that no row claims can be a misspelt slide; the search is quadratic, so it is bounded.
    suggestions = {}
    for slide in missing[:200]:
        close = difflib.get_close_matches(slide, spare[:2000], n=1, cutoff=0.8)
        prefixed = [name for name in spare if name.startswith(slide) or slide.startswith(name)]
        if prefixed or close:
            suggestions[slide] = (prefixed or close)[0]
    return suggestions
