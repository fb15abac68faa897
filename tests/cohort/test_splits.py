from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cohort.tables import labelled_cohort, survival_cohort
from wsi2dmamba.cohort.config import SplitConfig
from wsi2dmamba.cohort.drawn import hold_out
from wsi2dmamba.cohort.saved import load_splits, save_splits
from wsi2dmamba.cohort.splits import Fold, check_fold, make_splits, weak_spots
from wsi2dmamba.core.errors import CohortError


@settings(max_examples=40, deadline=None)
@given(a=st.integers(8, 40), b=st.integers(8, 40), folds=st.integers(2, 6), seed=st.integers(0, 5))
def test_kfold_tests_every_patient_once_and_keeps_the_classes(a: int, b: int, folds: int, seed: int) -> None:
    cohort = labelled_cohort({"x": a, "y": b})
    made = make_splits(cohort, SplitConfig(folds=folds, seed=seed))
    assert Counter(case for fold in made for case in fold.test) == Counter(case.case_id for case in cohort.cases)
    for fold in made:
        assert sorted(fold.train + fold.validation + fold.test) == [case.case_id for case in cohort.cases]
        for name, count in (("x", a), ("y", b)):
            tested = sum(case.startswith(name) for case in fold.test)
            assert abs(tested - count / folds) <= 1


@settings(max_examples=40, deadline=None)
@given(counts=st.lists(st.integers(1, 20), min_size=1, max_size=5), fraction=st.floats(0.05, 0.9))
def test_hold_out_takes_the_share_it_was_asked_for(counts: list[int], fraction: float) -> None:
    cohort = labelled_cohort({f"k{index}": count for index, count in enumerate(counts)})
    if len(cohort) < 2:
        return
    rest, held = hold_out(cohort.cases, fraction, seed=1)
    assert len(held) == min(max(round(fraction * len(cohort)), 1), len(cohort) - 1)
    assert {case.case_id for case in rest} | {case.case_id for case in held} == {case.case_id for case in cohort.cases}
    assert len(rest) + len(held) == len(cohort)


def test_the_same_seed_gives_the_same_folds_and_another_others() -> None:
    cohort = labelled_cohort({"x": 20, "y": 20})
    assert make_splits(cohort, SplitConfig(seed=3)) == make_splits(cohort, SplitConfig(seed=3))
    assert make_splits(cohort, SplitConfig(seed=3)) != make_splits(cohort, SplitConfig(seed=4))


def test_survival_folds_are_stratified_by_event() -> None:
    cohort = survival_cohort(60, event_every=3)
    events = {case.case_id for case in cohort.cases if case.event}
    shares = [len(events & set(fold.test)) for fold in make_splits(cohort, SplitConfig(folds=5))]
    assert max(shares) - min(shares) <= 1


def test_monte_carlo_repeats_a_random_division() -> None:
    folds = make_splits(
        labelled_cohort({"x": 20, "y": 20}), SplitConfig(kind="montecarlo", folds=3, test_fraction=0.25)
    )
    assert [len(fold.test) for fold in folds] == [10, 10, 10]
    assert len({fold.test for fold in folds}) == 3


def test_leave_one_site_out_tests_each_site_whole() -> None:
    cohort = labelled_cohort({"x": 9, "y": 9})
    folds = make_splits(cohort, SplitConfig(kind="site", column="site"))
    sites = {case.case_id: case.extra["site"] for case in cohort.cases}
    assert [{sites[case] for case in fold.test} for fold in folds] == [{"s0"}, {"s1"}, {"s2"}]
    assert all(sites[case] != f"s{fold.index}" for fold in folds for case in fold.train + fold.validation)


def test_a_site_column_that_is_not_there() -> None:
    with pytest.raises(CohortError, match=r"no column 'sit'.*did you mean 'site'"):
        make_splits(labelled_cohort({"x": 9, "y": 9}), SplitConfig(kind="site", column="sit"))


def test_more_folds_than_patients() -> None:
    with pytest.raises(CohortError, match="3 patients cannot make 5 folds"):
        make_splits(labelled_cohort({"x": 2, "y": 1}), SplitConfig(folds=5))


def test_a_class_that_training_lacks_is_refused() -> None:
    with pytest.raises(CohortError, match="no patient of class 'y' in train"):
        make_splits(labelled_cohort({"x": 20, "y": 1}), SplitConfig(folds=5))


def test_a_training_part_without_events_is_refused() -> None:
    with pytest.raises(CohortError, match="no event among the patients in train"):
        make_splits(survival_cohort(20, event_every=20), SplitConfig(folds=5))


def test_a_patient_on_two_sides_is_leakage() -> None:
    cohort = labelled_cohort({"x": 2, "y": 2})
    with pytest.raises(CohortError, match="leakage"):
        check_fold(Fold(0, ("x-000", "y-000"), ("x-001",), ("x-000", "y-001")), cohort)


def test_a_test_part_without_a_class_is_pointed_out() -> None:
    cohort = labelled_cohort({"x": 3, "y": 2})
    fold = Fold(0, ("x-000", "y-000"), ("x-001", "y-001"), ("x-002",))
    assert weak_spots([fold], cohort) == ["fold 0: no patient of class 'y' in test"]


def test_saved_splits_come_back(tmp_path: Path) -> None:
    cohort = labelled_cohort({"x": 12, "y": 13})
    folds = make_splits(cohort, SplitConfig(folds=4))
    save_splits(tmp_path / "splits.csv", folds)
    assert load_splits(tmp_path / "splits.csv") == folds
    assert make_splits(cohort, SplitConfig(kind="files", files=str(tmp_path / "splits.csv"))) == folds
