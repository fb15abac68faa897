import csv
import json
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from tests.evaluation.made_up import classification_table
from tests.shared_data import shared_path
from wsi2dmamba.cli import app
from wsi2dmamba.core.errors import EvaluationError, InputError

RUN = CliRunner()


def test_a_table_of_another_tool_is_judged(tmp_path: Path) -> None:
    table = classification_table().rename(columns=lambda c: c.replace("prob_", "p:")).rename(columns={"label": "truth"})
    table.to_csv(tmp_path / "theirs.csv", index=False)
    out = tmp_path / "out"
    named = ["--label-column", "truth", "--probability-prefix", "p:", "--resamples", "50", "--seed", "3"]
    result = RUN.invoke(app, ["eval", "-p", str(tmp_path / "theirs.csv"), "-o", str(out), *named])
    assert result.exit_code == 0, result.output
    assert "AUROC" in result.output and "60 test patients" in result.output
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["config"]["resamples"] == 50 and metrics["config"]["seed"] == 3
    assert (out / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ([], InputError, "give a run folder"),
        (["nowhere"], EvaluationError, "is no run folder"),
        (["-p", "none.csv"], InputError, "needs --out"),
        (["-p", "none.csv", "-o", "x"], EvaluationError, "no such predictions file"),
        (["-p", "none.csv", "-o", "x", "--confidence", "95"], InputError, "confidence"),
        (["-p", "none.csv", "-o", "x", "--task", "guess"], InputError, "task 'guess'"),
    ],
)
def test_bad_arguments_are_one_line(arguments: list[str], error: type, says: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = RUN.invoke(app, ["eval", *arguments])
    assert isinstance(result.exception, error) and says in str(result.exception)
    assert not (tmp_path / "x").exists()


def test_an_unfinished_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("name: x\n")
    result = RUN.invoke(app, ["eval", str(tmp_path)])
    assert "training is not finished" in str(result.exception)


def test_published_c_indices_through_the_command(tmp_path: Path) -> None:
    folder = shared_path("data/survival")
    tables = [item for c in ("blca", "ucec") for item in ("-p", str(folder / f"mcat_{c}_predictions.csv"))]
    result = RUN.invoke(app, ["eval", *tables, "-o", str(tmp_path), "--group-by", "model,cohort", "--resamples", "20"])
    assert result.exit_code == 0, result.exception
    ours = pd.read_csv(tmp_path / "metrics.csv", dtype={"fold": str})
    ours = ours[ours["metric"] == "c_index"].set_index(["model", "cohort", "fold"])["estimate"]
    with (folder / "mcat_published_cindex.csv").open() as file:
        published = list(csv.DictReader(file))
    assert len(published) == 110
    for row in published:
        value = ours[row["model"], row["cohort"], row["fold"]]
        assert value == pytest.approx(float(row["published_val_cindex"]), abs=1e-6), row


def test_an_unknown_grouping_column_is_named(tmp_path: Path) -> None:
    classification_table().to_csv(tmp_path / "t.csv", index=False)
    result = RUN.invoke(app, ["eval", "-p", str(tmp_path / "t.csv"), "-o", str(tmp_path / "o"), "--group-by", "model"])
    assert "no column 'model' to group by" in str(result.exception)
