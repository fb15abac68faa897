from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.cohort.tables import config_of, labelled_cohort
from wsi2dmamba.cohort.config import SplitConfig
from wsi2dmamba.cohort.given import split_files
from wsi2dmamba.cohort.splits import make_splits, weak_spots
from wsi2dmamba.cohort.table import load_cohort
from wsi2dmamba.core.errors import CohortError


def rows_with(split: str, words: list[str]) -> list[dict]:
    return [
        {"slide_id": f"s{index}", "case_id": f"c{index}", "label": index % 2, split: word}
        for index, word in enumerate(words)
    ]


def test_a_column_of_words(tmp_path: Path) -> None:
    config = config_of(
        tmp_path,
        rows_with("Data Split", ["Train", "training", "Val", "validation", "Test", "testing"]),
        label_column="label",
    )
    (fold,) = make_splits(load_cohort(config), SplitConfig(kind="column", column="Data Split"), config)
    assert (fold.train, fold.validation, fold.test) == (("c0", "c1"), ("c2", "c3"), ("c4", "c5"))


def test_a_column_of_fold_numbers(tmp_path: Path) -> None:
    config = config_of(tmp_path, rows_with("fold", [str(index // 4) for index in range(12)]), label_column="label")
    folds = make_splits(load_cohort(config), SplitConfig(kind="column", column="fold"), config)
    assert [fold.test for fold in folds] == [
        ("c0", "c1", "c2", "c3"),
        ("c4", "c5", "c6", "c7"),
        ("c10", "c11", "c8", "c9"),
    ]
    assert all(fold.validation for fold in folds)


def test_slides_of_one_patient_in_two_parts_are_leakage(tmp_path: Path) -> None:
    rows = [
        *rows_with("split", ["train", "train", "val", "test"]),
        {"slide_id": "s9", "case_id": "c0", "label": 0, "split": "test"},
    ]
    config = config_of(tmp_path, rows, label_column="label")
    with pytest.raises(CohortError, match=r"patient c0 are in test and train.*leakage"):
        make_splits(load_cohort(config), SplitConfig(kind="column", column="split"), config)


def test_a_word_that_is_no_part(tmp_path: Path) -> None:
    config = config_of(tmp_path, rows_with("split", ["train", "train", "val", "tset"]), label_column="label")
    with pytest.raises(CohortError, match="says 'tset'"):
        make_splits(load_cohort(config), SplitConfig(kind="column", column="split"), config)


def write_wide(path: Path, **columns: list[str]) -> None:
    pd.DataFrame({name: pd.Series(ids, dtype=str) for name, ids in columns.items()}).to_csv(path)


@pytest.mark.parametrize("ids", ["case", "slide", "slide.svs"])
def test_wide_files_by_case_or_slide(tmp_path: Path, ids: str) -> None:
    suffix = {"case": "", "slide": "-s0", "slide.svs": "-s0.svs"}[ids]
    name = lambda *cases: [case + suffix for case in cases]  # noqa: E731
    write_wide(
        tmp_path / "splits_0.csv",
        train=name("x-000", "x-001", "y-000", "unknown"),
        val=name("x-002", "y-001"),
        test=name("x-003", "y-002"),
    )
    folds = make_splits(
        labelled_cohort({"x": 4, "y": 3}), SplitConfig(kind="files", files=str(tmp_path / "splits_*.csv"))
    )
    assert [(fold.train, fold.validation, fold.test) for fold in folds] == [
        (("x-000", "x-001", "y-000"), ("x-002", "y-001"), ("x-003", "y-002"))
    ]


def test_bool_files(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"train": [True, True, False, False], "val": [False, False, True, False], "test": [False, False, False, True]},
        index=["x-000-s0", "y-000-s0", "x-001-s0", "y-001-s0"],
    )
    frame.to_csv(tmp_path / "splits_0_bool.csv")
    (fold,) = make_splits(
        labelled_cohort({"x": 2, "y": 2}), SplitConfig(kind="files", files=str(tmp_path / "splits_0_bool.csv"))
    )
    assert (fold.train, fold.validation, fold.test) == (("x-000", "y-000"), ("x-001",), ("y-001",))


def test_without_test_patients_val_is_tested_and_never_chooses_the_model(tmp_path: Path) -> None:
    cohort = labelled_cohort({"x": 10, "y": 10})
    ids = [case.case_id for case in cohort.cases]
    write_wide(tmp_path / "splits_0.csv", train=ids[:8] + ids[10:18], val=ids[8:10] + ids[18:])
    (fold,) = make_splits(cohort, SplitConfig(kind="files", files=str(tmp_path / "splits_0.csv")))
    assert fold.test == tuple(sorted(ids[8:10] + ids[18:]))
    assert fold.validation and set(fold.validation) <= set(ids[:8] + ids[10:18])


def test_patients_that_no_file_lists_are_named(tmp_path: Path) -> None:
    cohort = labelled_cohort({"a": 4, "b": 4})
    ids = [case.case_id for case in cohort.cases]
    write_wide(tmp_path / "splits_0.csv", train=[ids[0], ids[4], ids[5]], val=[ids[1], ids[6]], test=[ids[2], ids[7]])
    config = SplitConfig(kind="files", files=str(tmp_path / "splits_0.csv"))
    said = weak_spots(make_splits(cohort, config), cohort)
    assert said == ["1 patient(s) in no part of any fold, so not used: a-003"]


def test_a_patient_in_two_columns_is_leakage(tmp_path: Path) -> None:
    write_wide(tmp_path / "splits_0.csv", train=["x-000", "y-000"], val=["x-001"], test=["x-000"])
    with pytest.raises(CohortError, match="x-000 is in both"):
        make_splits(labelled_cohort({"x": 2, "y": 2}), SplitConfig(kind="files", files=str(tmp_path / "splits_0.csv")))


def test_files_of_another_cohort(tmp_path: Path) -> None:
    write_wide(tmp_path / "splits_0.csv", train=["other"], val=["another"], test=["third"])
    with pytest.raises(CohortError, match="none of its ids"):
        make_splits(labelled_cohort({"x": 2, "y": 2}), SplitConfig(kind="files", files=str(tmp_path / "splits_0.csv")))
    with pytest.raises(CohortError, match="no split file matches"):
        make_splits(labelled_cohort({"x": 2, "y": 2}), SplitConfig(kind="files", files=str(tmp_path / "gone_*.csv")))


def test_split_10_comes_after_split_2(tmp_path: Path) -> None:
    for index in (10, 2, 1):
        write_wide(tmp_path / f"splits_{index}.csv", train=["a"], val=["b"])
    paths = split_files(SplitConfig(kind="files", files=str(tmp_path / "splits_*.csv")))
    assert [path.stem for path in paths] == ["splits_1", "splits_2", "splits_10"]
