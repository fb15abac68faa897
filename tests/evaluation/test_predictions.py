from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.evaluation.made_up import classification_table, survival_table
from wsi2dmamba.core.errors import EvaluationError
from wsi2dmamba.evaluation.config import TableColumns
from wsi2dmamba.evaluation.predictions import read_predictions


def _broken(column: str, value: object, row: int = 3) -> pd.DataFrame:
    table = classification_table() if column.startswith(("prob", "label", "split")) else survival_table()
    table[column] = table[column].astype(object)
    table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (classification_table().drop(columns="label"), "needs label and prob_"),
        (classification_table().drop(columns="case_id"), "no case_id column"),
        (classification_table().drop(columns="prob_c1"), "at least two prob_"),
        (_broken("prob_c1", 0.9999), "do not add up to 1"),
        (_broken("prob_c1", np.nan), "'prob_c1' is missing, NaN"),
        (_broken("prob_c1", "high"), "'prob_c1' is not a number in 1 row"),
        (_broken("prob_c1", -0.2), "outside 0..1"),
        (_broken("label", "c7"), "label 'c7' has no column prob_c7"),
        (_broken("split", "holdout"), "split 'holdout'"),
        (classification_table().assign(label="c0"), "one class only"),
        (survival_table().assign(event=0), "every test row is censored"),
        (_broken("time", -1.0), "negative survival time"),
        (_broken("risk", np.inf), "'risk' is missing, NaN or infinite"),
        (_broken("event", 2), "neither 0 nor 1"),
        (_broken("survival_5", 1.5), "outside [0, 1]"),
        (classification_table().assign(split="train"), "no row has split = test"),
        (classification_table().iloc[:0], "has no rows"),
    ],
)
def test_bad_tables_are_refused_in_one_line(table: pd.DataFrame, says: str, tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    table.to_csv(path, index=False)
    for source in (table, path):
        with pytest.raises(EvaluationError) as caught:
            read_predictions(source)
        assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_patient_in_train_and_test_of_one_fold_is_refused() -> None:
    table = classification_table()
    leak = table[table["split"] == "test"].iloc[[0]].assign(split="train")
    with pytest.raises(EvaluationError, match=r"'p000' in fold 0, are in test and train"):
        read_predictions(pd.concat([table, leak]))


def test_a_missing_file_and_a_folder_of_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="no such predictions file"):
        read_predictions(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(bytes(range(256)))
    with pytest.raises(EvaluationError, match="not a readable CSV"):
        read_predictions(tmp_path / "bytes.csv")


def test_names_that_look_like_missing_values_or_numbers_stay_names(tmp_path: Path) -> None:
    table = classification_table().rename(columns={"prob_c0": "prob_NA", "prob_c1": "prob_01"})
    table["label"] = table["label"].map({"c0": "NA", "c1": "01"})
    table["case_id"] = table["case_id"].str.replace("p", "")
    table.to_csv(tmp_path / "p.csv", index=False)
    predictions = read_predictions(tmp_path / "p.csv")
    assert predictions.class_names == ("NA", "01") and set(predictions.table["label"]) == {"NA", "01"}
    assert predictions.table["case_id"].iloc[0] == "000"


def test_numbers_are_read_to_the_last_digit(tmp_path: Path) -> None:
    table = survival_table()
    table.to_csv(tmp_path / "p.csv", index=False)
    assert (read_predictions(tmp_path / "p.csv").table["risk"].to_numpy() == table["risk"].to_numpy()).all()


def test_foreign_column_names_are_understood() -> None:
    table = survival_table(folds=1, columns=False)
    table = table[table["split"] == "test"].drop(columns=["fold", "seed", "split"])
    foreign = table.rename(columns={"time": "survival_months", "case_id": "Patient", "risk": "score"})
    foreign["censorship"] = 1 - foreign.pop("event")
    predictions = read_predictions(foreign, TableColumns(case="Patient", risk="score"))
    rows = predictions.rows("test")
    assert predictions.task == "survival"
    np.testing.assert_array_equal(rows.event, table["event"] == 1)
    np.testing.assert_array_equal(rows.time, table["time"])
    with pytest.raises(EvaluationError, match="no column 'Score' for the risk"):
        read_predictions(foreign, TableColumns(case="Patient", risk="Score"))


def test_columns_of_other_folds_may_be_empty() -> None:
    table = survival_table()
    table.loc[table["fold"] == 0, "survival_5"] = np.nan
    predictions = read_predictions(table)
    assert predictions.survival_times == (5.0, 10.0, 20.0, 40.0)
    assert np.isnan(predictions.rows("test").survival).any()
