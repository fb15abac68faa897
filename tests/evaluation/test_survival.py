import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter
from lifelines.statistics import logrank_test

from tests.evaluation.made_up import survival_table
from wsi2dmamba.evaluation.predictions import read_predictions
from wsi2dmamba.evaluation.riskgroups import compare_groups, split_by_risk
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
    found = compare_groups(predictions, 0.5, 0.95)
    table = predictions.table.assign(high=split_by_risk(predictions, 0.5)[0].astype(int))
    table["event"] = table["event"].astype(int)
    fitted = CoxPHFitter().fit(table[["high", "time", "event"]], "time", "event")
    assert found.hazard_ratio.estimate == pytest.approx(fitted.hazard_ratios_.iloc[0])
    low, up = table[table["high"] == 0], table[table["high"] == 1]
    p = logrank_test(low["time"], up["time"], low["event"], up["event"]).p_value
    assert found.log_rank_p == pytest.approx(p)
    assert found.low[0] + found.high[0] == 120 and found.hazard_ratio.lower > 1


def test_a_group_without_events_gives_no_hazard_ratio() -> None:
    table = survival_table(folds=1).assign(split="test")
    table.loc[table["risk"] <= table["risk"].median(), "event"] = 0
    found = compare_groups(read_predictions(table), 0.5, 0.95)
    assert found.hazard_ratio.estimate is None and found.log_rank_p is not None


def test_risks_all_alike_are_said_to_be_so() -> None:
    found = compare_groups(read_predictions(survival_table().assign(risk=1.0)), 0.5, 0.95)
    assert found.high[0] == 0 and found.log_rank_p is None and found.hazard_ratio_per_sd.estimate is None
