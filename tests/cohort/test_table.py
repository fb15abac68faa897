from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from pydantic import ValidationError

from tests.cohort.tables import config_of
from wsi2dmamba.cohort.config import CohortConfig, SplitConfig
from wsi2dmamba.cohort.splits import make_splits
from wsi2dmamba.cohort.table import load_cohort
from wsi2dmamba.core.errors import CohortError

TWO_CLASSES = [
    {"slide_id": "a1.svs", "case_id": "a", "label": "luad"},
    {"slide_id": "a2", "case_id": "a", "label": "luad"},
    {"slide_id": "folder/b1.svs", "case_id": "b", "label": "lusc"},
]


def test_slides_of_a_patient_become_one_case_and_the_suffix_is_ignored(tmp_path: Path) -> None:
    cohort = load_cohort(config_of(tmp_path, TWO_CLASSES, label_column="label"))
    assert [(case.case_id, case.slide_ids, case.label) for case in cohort.cases] == [
        ("a", ("a1", "a2"), 0),
        ("b", ("b1",), 1),
    ]
    assert cohort.class_names == ("luad", "lusc")


def test_a_dot_inside_a_tcga_name_is_no_suffix(tmp_path: Path) -> None:
    rows = [
        {"slide_id": "TCGA-3C-AALI-01Z-00-DX1.F6E9A5DF.svs", "case_id": "a", "label": 0},
        {"slide_id": "TCGA-3C-AALI-01Z-00-DX2.CF4496E0", "case_id": "b", "label": 1},
    ]
    cohort = load_cohort(config_of(tmp_path, rows, label_column="label"))
    assert [case.slide_ids[0] for case in cohort.cases] == [
        "TCGA-3C-AALI-01Z-00-DX1.F6E9A5DF",
        "TCGA-3C-AALI-01Z-00-DX2.CF4496E0",
    ]


def test_a_label_map_merges_classes_and_counts_what_it_drops(tmp_path: Path) -> None:
    rows = [{"slide_id": f"s{i}", "case_id": f"c{i}", "grade": g} for i, g in enumerate(["0", "1", "2", "5", "x"])]
    cohort = load_cohort(
        config_of(tmp_path, rows, label_column="grade", label_map={0: "low", 1: "low", 2: "high", 5: "high"})
    )
    assert [cohort.class_names[case.label or 0] for case in cohort.cases] == ["low", "low", "high", "high"]
    assert [(exclusion.unit, exclusion.ids) for exclusion in cohort.exclusions] == [("rows", ("s4",))]
    assert "label_map" in str(cohort.exclusions[0])


def test_numeric_classes_are_ordered_by_value(tmp_path: Path) -> None:
    rows = [{"slide_id": f"s{i}", "case_id": f"c{i}", "grade": g} for i, g in enumerate([10, 9, 2])]
    assert load_cohort(config_of(tmp_path, rows, label_column="grade")).class_names == ("2", "9", "10")


@pytest.mark.parametrize(("column", "kind"), [("censorship", "censorship_column"), ("event", "event_column")])
def test_censorship_and_event_columns_say_the_same(tmp_path: Path, column: str, kind: str) -> None:
    flags = [0, 1] if column == "censorship" else [1, 0]
    rows = [{"slide_id": f"s{i}", "case_id": f"c{i}", "months": 5.5 + i, column: flags[i]} for i in range(2)]
    cohort = load_cohort(config_of(tmp_path, rows, time_column="months", **{kind: column}))
    assert [(case.time, case.event) for case in cohort.cases] == [(5.5, True), (6.5, False)]


def test_a_zipped_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cohort.csv.zip"
    pd.DataFrame(TWO_CLASSES).to_csv(path, index=False)
    assert len(load_cohort(CohortConfig(csv=path, label_column="label"))) == 2


def test_rows_without_a_label_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [*TWO_CLASSES, {"slide_id": "d", "case_id": "d", "label": None}]
    cohort = load_cohort(config_of(tmp_path, rows, label_column="label"))
    assert len(cohort) == 2
    assert cohort.exclusions[0].ids == ("d",)


def test_where_keeps_some_rows(tmp_path: Path) -> None:
    rows = [{**row, "code": code} for row, code in zip(TWO_CLASSES, ["X", "X", "Y"], strict=True)]
    with pytest.raises(CohortError, match="every patient is of class 'luad'"):
        load_cohort(config_of(tmp_path, rows, label_column="label", where={"code": ["X"]}))


def test_without_a_case_column_every_slide_is_a_patient(tmp_path: Path) -> None:
    cohort = load_cohort(config_of(tmp_path, TWO_CLASSES, label_column="label", case_column=None))
    assert [case.case_id for case in cohort.cases] == ["a1", "a2", "b1"]


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        (TWO_CLASSES, {"label_column": "lable"}, "no column 'lable'.*did you mean 'label'.*slide_id, case_id, label"),
        (TWO_CLASSES[:2], {"label_column": "label"}, "every patient is of class 'luad'"),
        ([*TWO_CLASSES, TWO_CLASSES[0]], {"label_column": "label"}, "lists slide a1 more than once"),
        (
            [*TWO_CLASSES, {"slide_id": "a3", "case_id": "a", "label": "lusc"}],
            {"label_column": "label"},
            r"patient a has two different values of label \(luad and lusc\)",
        ),
        ([{"slide_id": "s", "case_id": "c", "t": 1, "e": 0}], {"time_column": "t", "event_column": "e"}, "censored"),
        ([{"slide_id": "s", "case_id": "c", "t": "x", "e": 1}], {"time_column": "t", "event_column": "e"}, "a number"),
        ([{"slide_id": "s", "case_id": "c", "t": -1, "e": 1}], {"time_column": "t", "event_column": "e"}, "negative"),
        ([{"slide_id": "s", "case_id": "c", "t": 1, "e": 2}], {"time_column": "t", "event_column": "e"}, "0 or 1"),
        ([{"slide_id": None, "case_id": "c", "label": 2}], {"label_column": "label"}, "line 2: no slide id"),
    ],
)
def test_bad_tables_are_one_clear_line(tmp_path: Path, rows: list, columns: dict, message: str) -> None:
    with pytest.raises(CohortError, match=message) as caught:
        load_cohort(config_of(tmp_path, rows, **columns))
    assert "\n" not in str(caught.value)


def test_a_missing_and_an_unreadable_table(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="there is no table"):
        load_cohort(CohortConfig(csv=tmp_path / "none.csv", label_column="label"))
    (tmp_path / "cut.csv.zip").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(CohortError, match="no readable CSV"):
        load_cohort(CohortConfig(csv=tmp_path / "cut.csv.zip", label_column="label"))


def test_the_patient_may_be_a_part_of_the_column(tmp_path: Path) -> None:
    slides = ["TCGA-49-4512-01Z-00-DX1.a", "TCGA-49-4512-01Z-00-DX7.b", "TCGA-50-0001-01Z-00-DX1.c"]
    path = tmp_path / "cohort.csv"
    pd.DataFrame({"slide_id": slides, "case_id": slides, "label": ["a", "a", "b"]}).to_csv(path, index=False)
    config = CohortConfig(csv=path, label_column="label", case_pattern="^(TCGA-..-....)")
    assert [case.case_id for case in load_cohort(config).cases] == ["TCGA-49-4512", "TCGA-50-0001"]
    # Split files of slides that divide a patient are leakage only when the patient is known.
    wide = {"train": [slides[0], slides[2]], "val": [None, None], "test": [slides[1], None]}
    pd.DataFrame(wide).to_csv(tmp_path / "splits_0.csv", index=False)
    given = SplitConfig(kind="files", files=str(tmp_path / "splits_0.csv"))
    with pytest.raises(CohortError, match="patient TCGA-49-4512 is in both train and test"):
        make_splits(load_cohort(config), given, config)
    with pytest.raises(CohortError, match="finds no patient in 'TCGA-49-4512"):
        load_cohort(config.model_copy(update={"case_pattern": "^(CPTAC.*)"}))
    for pattern in ("TCGA", "("):
        with pytest.raises(ValidationError):
            CohortConfig(csv=path, label_column="label", case_pattern=pattern)
