import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from lifelines.statistics import logrank_test

from tests.evaluation.made_up import survival_table
from wsi2dmamba.evaluation.config import EvalConfig
from wsi2dmamba.evaluation.hazards import PartialLikelihood
from wsi2dmamba.evaluation.judge import evaluate
from wsi2dmamba.evaluation.predictions import read_predictions
from wsi2dmamba.evaluation.riskgroups import split_by_risk
from wsi2dmamba.evaluation.survival import FollowUp, SurvivalMetrics, brier_at, brier_losses

GOLDEN = json.loads((Path(__file__).parent / "golden_survival.json").read_text())


@pytest.fixture(scope="module")
def rows():
    columns = {
        f"survival_{t:g}": values
        for t, values in zip(GOLDEN["times"], zip(*GOLDEN["survival"], strict=True), strict=True)
    }
    ids = [f"p{k}" for k in range(len(GOLDEN["time"]))]
    plain = {name: GOLDEN[name] for name in ("time", "event", "risk")}
    return read_predictions(pd.DataFrame({"case_id": ids, **plain, **columns})).rows("test")


def test_every_metric_equals_scikit_survival(rows) -> None:
    follow_up = FollowUp.of(rows)
    assert follow_up.horizon == GOLDEN["horizon"]
    found = SurvivalMetrics(rows, follow_up, tuple(GOLDEN["times"]), ())(np.ones((1, len(rows))))
    assert found["c_index"][0] == pytest.approx(GOLDEN["harrell"], abs=1e-12)
    assert found["c_index_uno"][0] == pytest.approx(GOLDEN["uno"], abs=1e-12)
    for time, auc in zip(GOLDEN["times"], GOLDEN["auc"], strict=True):
        assert found[f"auc_t/{time:g}"][0] == pytest.approx(auc, abs=1e-12)
    brier = brier_at(rows, rows.survival, np.array(GOLDEN["times"]), follow_up).mean(axis=0)
    np.testing.assert_allclose(brier, GOLDEN["brier"], atol=1e-12)


def test_a_weighting_equals_repeated_patients_at_fixed_censoring(rows) -> None:
    follow_up = FollowUp.of(rows)
    drawn = np.random.default_rng(2).integers(0, len(rows), len(rows))
    weights = np.bincount(drawn, minlength=len(rows))[None].astype(float)
    once = SurvivalMetrics(rows, follow_up, (6.0,), tuple(GOLDEN["times"]))(weights)
    table = pd.DataFrame({"case_id": [f"q{k}" for k in range(len(drawn))]})
    for name in ("time", "event", "risk"):
        table[name] = np.array(GOLDEN[name])[drawn]
    for k, t in enumerate(GOLDEN["times"]):
        table[f"survival_{t:g}"] = np.array(GOLDEN["survival"])[drawn, k]
    repeated = read_predictions(table).rows("test")
    again = SurvivalMetrics(repeated, follow_up, (6.0,), tuple(GOLDEN["times"]))(np.ones((1, len(drawn))))
    for name in again:
        assert once[name][0] == pytest.approx(again[name][0], abs=1e-10), name


def test_a_perfect_forecast_has_a_smaller_integrated_brier_than_a_flat_one() -> None:
    table = survival_table(patients=200, folds=1, effect=2.0)
    table = table[table["split"] == "test"]
    flat = table.copy()
    for t in (5, 10, 20, 40):
        flat[f"survival_{t}"] = flat[f"survival_{t}"].mean()
    losses = []
    for one in (table, flat):
        predictions = read_predictions(one)
        rows = predictions.rows("test")
        losses.append(brier_losses(rows, np.array(predictions.survival_times), FollowUp.of(rows)).mean())
    assert losses[0] < losses[1] - 0.03


def test_the_integral_ends_where_a_fold_says_nothing(rows) -> None:
    rows = rows.only(np.ones(len(rows), dtype=bool))
    rows.survival[:5, -1] = np.nan
    follow_up = FollowUp.of(rows)
    times = np.array(GOLDEN["times"])
    shorter = brier_losses(rows, times, follow_up)
    rows.survival[:, -1] = np.nan
    np.testing.assert_array_equal(shorter, brier_losses(rows, times, follow_up))
    rows.survival[:] = np.nan
    assert brier_losses(rows, times, follow_up).size == 0


def test_the_risk_cut_is_fixed_on_the_folds_own_training_patients() -> None:
    table = survival_table()
    predictions = read_predictions(table)
    high, fixed_on = split_by_risk(predictions, 0.5)
    assert fixed_on == "train"
    test = table[table["split"] == "test"].assign(high=high)
    for fold, rows in test.groupby("fold"):
        cut = table[(table["split"] == "train") & (table["fold"] == fold)]["risk"].median()
        np.testing.assert_array_equal(rows["high"], rows["risk"] > cut)
    spoiled = table.assign(risk=np.where(table["split"] == "train", table["risk"] - 100, table["risk"]))
    assert split_by_risk(read_predictions(spoiled), 0.5)[0].all()
    assert split_by_risk(read_predictions(table[table["split"] == "test"]), 0.5)[1] == "test"


def test_hazard_ratio_and_log_rank_are_those_of_lifelines() -> None:
    predictions = read_predictions(survival_table(patients=120, folds=1, effect=1.5).assign(split="test"))
    found = evaluate(predictions, EvalConfig(resamples=100)).risk_groups
    table = predictions.table.assign(high=split_by_risk(predictions, 0.5)[0].astype(int))
    table["event"] = table["event"].astype(int)
    fitted = CoxPHFitter().fit(table[["high", "time", "event"]], "time", "event")
    assert found.hazard_ratio.estimate == pytest.approx(fitted.hazard_ratios_.iloc[0])
    low, up = table[table["high"] == 0], table[table["high"] == 1]
    test = logrank_test(low["time"], up["time"], low["event"], up["event"])
    assert found.log_rank_p == pytest.approx(test.p_value)
    assert found.log_rank_statistic == pytest.approx(test.test_statistic)
    assert found.low[0] + found.high[0] == 120 and found.hazard_ratio.lower > 1


def test_a_group_without_events_gives_no_hazard_ratio() -> None:
    table = survival_table(folds=1).assign(split="test")
    table.loc[table["risk"] <= table["risk"].median(), "event"] = 0
    judged = evaluate(table, EvalConfig(resamples=40))
    found = judged.risk_groups
    assert found.hazard_ratio.estimate is None and found.log_rank_p is not None
    assert judged.pooled["hazard_ratio"].estimate is None


def test_risks_all_alike_are_said_to_be_so() -> None:
    found = evaluate(survival_table().assign(risk=1.0), EvalConfig(resamples=40)).risk_groups
    assert found.high[0] == 0 and found.log_rank_p is None and found.hazard_ratio_per_sd.estimate is None


@pytest.mark.parametrize("step", [None, 6], ids=["distinct times", "tied times"])
@pytest.mark.parametrize("binary", [False, True], ids=["number", "groups"])
def test_the_partial_likelihood_is_maximised_where_lifelines_says(step: int | None, binary: bool) -> None:
    rng = np.random.default_rng(4)
    hazard = rng.normal(size=120)
    time = rng.exponential(20 * np.exp(-0.7 * hazard))
    time = time if step is None else np.ceil(time / step)
    event, fold = rng.random(120) < 0.6, np.arange(120) % 3
    covariate = (hazard > 0).astype(float) if binary else hazard
    found = PartialLikelihood(time, event, covariate, fold).log_ratio(np.ones((1, 120)))[0]
    table = pd.DataFrame({"time": time, "event": event.astype(int), "x": covariate, "fold": fold})
    fitted = CoxPHFitter().fit(table, "time", "event", strata=["fold"])
    assert found == pytest.approx(fitted.params_.iloc[0], abs=1e-4)


def test_a_weight_is_that_many_patients_and_separation_has_no_estimate() -> None:
    rng = np.random.default_rng(5)
    x, fold = rng.normal(size=60), np.zeros(60, dtype=int)
    time, event = rng.exponential(np.exp(-x)), rng.random(60) < 0.8
    weights = rng.integers(0, 3, size=(1, 60)).astype(float)
    kept = np.flatnonzero(weights[0])
    table = pd.DataFrame({"time": time, "event": event.astype(int), "x": x, "w": weights[0]}).iloc[kept]
    fitted = CoxPHFitter().fit(table, "time", "event", weights_col="w", robust=True)
    found = PartialLikelihood(time, event, x, fold).log_ratio(weights)[0]
    assert found == pytest.approx(fitted.params_.iloc[0], abs=1e-4)
    assert np.isnan(PartialLikelihood(time, event, np.ones(60), fold).log_ratio(weights)[0])
    only_high = PartialLikelihood(np.arange(60.0), np.arange(60) < 20, (np.arange(60) < 20) * 1.0, fold)
    assert np.isnan(only_high.log_ratio(np.ones((1, 60)))[0])


def test_the_hazard_ratio_has_a_bootstrap_interval_per_fold_and_over_seeds() -> None:
    found = evaluate(survival_table(patients=150, seeds=2, effect=1.5), EvalConfig(resamples=200))
    pooled = found.pooled["hazard_ratio"]
    assert 1 < pooled.lower < pooled.estimate < pooled.upper and pooled.resamples == 200
    assert set(found.fold_groups) == set(found.folds) == {0, 1, 2}
    assert all(fold["hazard_ratio"].lower is not None for fold in found.folds.values())
    assert found.over_seeds["hazard_ratio"].n == 2 and found.over_seeds["hazard_ratio_per_sd"].sd > 0
    one = evaluate(survival_table(patients=150, effect=1.5), EvalConfig(resamples=200))
    assert one.pooled["hazard_ratio"].estimate == pytest.approx(one.risk_groups.hazard_ratio.estimate, abs=1e-3)
