"""`wsi2dmamba train --config configs/demo.yaml --set model.name=X` for every X, on a made-up cohort."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from tests.fabricate import FeatureCohort, feature_cohort
from wsi2dmamba.cli import app
from wsi2dmamba.models.registry import model_names

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "demo.yaml"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> FeatureCohort:
    """Eight patients in the columns of the demo's table."""
    made = feature_cohort(tmp_path_factory.mktemp("demo"), cases=8, side=3)
    fold = made.table["case_id"].str[-3:].astype(int) // 2 % 2
    made.table.rename(columns={"label": "phenotype"}).assign(fold=fold).to_csv(made.csv, index=False)
    return made


@pytest.mark.parametrize("name", model_names())
def test_every_model_trains(name: str, cohort: FeatureCohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Test processes share the cores: with all of them in each, threads wait for one another ten times the work.
    monkeypatch.setattr("wsi2dmamba.training.run.default_workers", lambda: 1)
    settings = [f"model.name={name}", f"cohort.csv={cohort.csv}", f"features.dir={cohort.features}"]
    settings += [
        f"output={tmp_path}",
        "model.dim=16",
        "train.epochs=1",
        "train.warmup_epochs=0",
        "splits.validation_fraction=0.3",
    ]
    words = [word for setting in settings for word in ("--set", setting)]
    result = CliRunner().invoke(app, ["train", "--config", str(CONFIG), "--workers", "1", *words])
    assert result.exit_code == 0, result.output
    predictions = pd.read_csv(tmp_path / f"phenotype-{name}" / "predictions.csv")
    assert predictions["prob_class-0"].between(0, 1).all()
    assert len(predictions) == 16  # eight patients in two folds
