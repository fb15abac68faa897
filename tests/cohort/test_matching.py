from __future__ import annotations

from pathlib import Path

import pytest

from tests.cohort.tables import labelled_cohort
from wsi2dmamba.cohort.matching import match_features
from wsi2dmamba.core.errors import CohortError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


def test_what_has_features_is_kept_and_the_rest_reported(tmp_path: Path) -> None:
    cohort = labelled_cohort({"x": 2, "y": 2})
    folder = touch(tmp_path, "x-000-s0.h5", "x-001-s0.h5", "y-000-s0.hdf5", "y-001-S0.h5", ".z.partial-1.h5")
    matched = match_features(cohort, folder)
    assert [case.case_id for case in matched.cohort.cases] == ["x-000", "x-001", "y-000"]
    assert matched.paths["y-000-s0"].suffix == ".hdf5"
    assert matched.unlabelled == ("y-001-S0",)
    assert matched.suggestions == {"y-001-s0": "y-001-S0"}
    assert [(exclusion.unit, exclusion.ids) for exclusion in matched.cohort.exclusions] == [
        ("slides", ("y-001-s0",)),
        ("patients", ("y-001",)),
    ]


def test_a_class_lost_for_want_of_features(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"every patient is of class 'x'"):
        match_features(labelled_cohort({"x": 2, "y": 2}), touch(tmp_path, "x-000-s0.h5", "x-001-s0.h5"))


def test_folders_that_cannot_be_right(tmp_path: Path) -> None:
    cohort = labelled_cohort({"x": 2, "y": 2})
    with pytest.raises(CohortError, match="there is no feature folder"):
        match_features(cohort, tmp_path / "none")
    with pytest.raises(CohortError, match="holds no feature file"):
        match_features(cohort, tmp_path)
    with pytest.raises(CohortError, match="none of the 4 slides"):
        match_features(cohort, touch(tmp_path, "other.h5"))
