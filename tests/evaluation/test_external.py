from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from tests.fabricate import FeatureCohort, feature_cohort
from wsi2dmamba.cli import app
from wsi2dmamba.core.errors import EvaluationError, StoreError
from wsi2dmamba.evaluation.classification import choose_operating_points
from wsi2dmamba.evaluation.config import EvalConfig
from wsi2dmamba.evaluation.external import evaluate_external
from wsi2dmamba.evaluation.predictions import read_predictions
from wsi2dmamba.training.checkpoint import load_model, trained_folders

QUICK = EvalConfig(resamples=50)


@pytest.fixture(params=["classification", "survival"])
def trained(request: pytest.FixtureRequest) -> tuple[Path, str]:
    return request.getfixturevalue(f"{request.param}_run"), request.param


def _other(folder: Path, task: str, **options: int) -> FeatureCohort:
    made = feature_cohort(folder, task=task, cases=18, seed=9, **options)
    made.table["case_id"] = "other-" + made.table["case_id"]
    made.table.to_csv(made.csv, index=False)
    return made


def test_the_ensemble_is_judged_and_nothing_is_tuned_on_the_cohort(trained: tuple[Path, str], tmp_path: Path) -> None:
    run, task = trained
    made = _other(tmp_path, task)
    found, report = evaluate_external(run, made.csv, made.features, QUICK)
    assert report == run / "external" / "cohort" / "report.html" and found.patients == 18
    assert list(found.folds) == [0] and len(trained_folders(run)) == 2
    table = found.predictions.table
    own = pd.read_csv(run / "predictions.csv")
    assert set(table.loc[table["split"] != "test", "case_id"]) <= set(own["case_id"])
    assert set(table.loc[table["split"] == "test", "case_id"]) == set(made.table["case_id"])
    if task == "classification":
        assert found.pooled["auc"].estimate > 0.8
        assert not any("0.5" in note for note in found.notes)
    else:
        assert found.risk_groups.fixed_on == "train"


def test_the_prediction_is_the_mean_of_the_folds(trained: tuple[Path, str], tmp_path: Path) -> None:
    from wsi2dmamba.cohort.cases import Case
    from wsi2dmamba.training.config import FeatureSource
    from wsi2dmamba.training.data import BagStore
    from wsi2dmamba.training.inference import predict_cases

    run, task = trained
    made = _other(tmp_path, task)
    found, _ = evaluate_external(run, made.csv, made.features, QUICK, tmp_path / "out")
    slides = tuple(made.table.loc[made.table["case_id"] == "other-case-004", "slide_id"])
    store = BagStore({s: made.features / f"{s}.h5" for s in slides}, FeatureSource(dir=made.features))
    models = [load_model(folder) for folder in trained_folders(run)]
    column = "risk" if task == "survival" else "prob_class-1"
    case = [Case("other-case-004", slides)]
    each = [predict_cases(m.model, m.task, case, store, m.several_slides)[column][0] for m in models]
    row = found.predictions.table.set_index("case_id").loc["other-case-004"]
    assert row[column] == pytest.approx(np.mean(each), abs=1e-12)


def test_patients_of_the_run_are_refused(classification_run: Path, tmp_path: Path) -> None:
    made = feature_cohort(tmp_path, cases=18)
    with pytest.raises(EvaluationError, match="18 patients of the external cohort, the first 'case-000'"):
        evaluate_external(classification_run, made.csv, made.features, QUICK, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_features_of_another_dimension_are_refused(classification_run: Path, tmp_path: Path) -> None:
    made = _other(tmp_path, "classification", dim=8)
    with pytest.raises(StoreError, match="does not fit this run"):
        evaluate_external(classification_run, made.csv, made.features, QUICK, tmp_path / "out")


def test_the_command(classification_run: Path, tmp_path: Path) -> None:
    made = _other(tmp_path, "classification")
    place = ["--cohort", str(made.csv), "--features", str(made.features), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["eval", str(classification_run), *place, "--resamples", "50"])
    assert result.exit_code == 0 and "on cohort: 18 test patients" in result.output, result.exception
    result = CliRunner().invoke(app, ["eval", str(classification_run), "--cohort", str(made.csv)])
    assert "needs a run folder, --cohort and --features" in str(result.exception)


def test_operating_points_are_the_means_of_the_models_own(trained: tuple[Path, str], tmp_path: Path) -> None:
    run, task = trained
    made = _other(tmp_path, task)
    found, _ = evaluate_external(run, made.csv, made.features, QUICK, tmp_path / "out")
    own = pd.read_csv(run / "predictions.csv")
    cuts = found.predictions.cuts
    if task == "survival":
        medians = own[own["split"] == "train"].groupby("fold")["risk"].median()
        assert cuts.risk == pytest.approx(medians.mean())
        high = (found.predictions.table["risk"] > cuts.risk).sum()
        assert found.risk_groups.high[0] == high
    else:
        points = choose_operating_points(
            *(read_predictions(own).rows(part) for part in ("test", "validation")), "youden"
        )
        assert cuts.thresholds == pytest.approx(np.mean(list(points.thresholds.values()), axis=0))
        called = found.predictions.table["prob_class-1"] >= cuts.thresholds[1]
        positive = found.predictions.table["label"] == "class-1"
        assert found.pooled["sensitivity"].estimate == pytest.approx((called & positive).sum() / positive.sum())
