import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tests.evaluation.made_up import classification_table, survival_table
from wsi2dmamba.evaluation.bootstrap import interval, patient_weights
from wsi2dmamba.evaluation.concordance import c_index
from wsi2dmamba.evaluation.config import EvalConfig
from wsi2dmamba.evaluation.judge import evaluate

QUICK = EvalConfig(resamples=100)


def test_the_headline_auc_is_not_hurt_by_offsets_between_folds() -> None:
    table = classification_table(patients=120, rounding=6)
    table["prob_c1"] = np.clip(table["prob_c1"] * 0.3 + 0.3 * table["fold"], 0, 1)
    table["prob_c0"] = 1 - table["prob_c1"]
    found = evaluate(table, QUICK)
    by_fold = [found.folds[fold]["auc"].estimate for fold in (0, 1, 2)]
    assert found.pooled["auc"].estimate == pytest.approx(np.mean(by_fold), abs=0.01)
    assert found.pooled["auc_pooled_scores"].estimate < found.pooled["auc"].estimate - 0.1


def test_only_test_rows_are_judged() -> None:
    table = classification_table()
    spoiled = table.copy()
    spoiled.loc[spoiled["split"] != "test", ["prob_c0", "prob_c1"]] = [0.5, 0.5]
    assert evaluate(table, QUICK).pooled["auc"] == evaluate(spoiled, QUICK).pooled["auc"]


def test_the_same_seed_gives_the_same_interval_and_another_another() -> None:
    table = classification_table()
    first = evaluate(table, QUICK).pooled["auc"]
    assert first == evaluate(table, QUICK).pooled["auc"]
    assert first != evaluate(table, EvalConfig(resamples=100, seed=1)).pooled["auc"]
    assert first.lower < first.estimate < first.upper


def test_resampling_takes_patients_with_all_their_rows() -> None:
    # Every patient's row given ten times is no more evidence than given once.
    table = classification_table(patients=40, folds=1, validation=False)
    often = table.loc[table.index.repeat(10)].reset_index(drop=True)
    often["prob_c0"] += np.tile(np.linspace(0, 1e-9, 10), len(table))
    often.loc[0, "label"] = "c1"  # outcomes of their own: rows are kept, not averaged
    once, ten = evaluate(table, QUICK).pooled["auc"], evaluate(often, QUICK).pooled["auc"]
    assert ten.upper - ten.lower > 0.8 * (once.upper - once.lower)


def test_several_rows_of_a_patient_are_averaged() -> None:
    table = classification_table(patients=40, folds=1, validation=False, rounding=6)
    twice = table.loc[table.index.repeat(2)].reset_index(drop=True)
    shift = np.tile([0.004, -0.004], len(table)) * (table["prob_c1"].between(0.1, 0.9).repeat(2).to_numpy())
    twice["prob_c1"], twice["prob_c0"] = twice["prob_c1"] + shift, twice["prob_c0"] - shift
    found = evaluate(twice, QUICK)
    assert found.pooled["auc"].estimate == evaluate(table, QUICK).pooled["auc"].estimate
    assert any("averaged" in note for note in found.notes)


def test_seeds_are_judged_apart_and_averaged() -> None:
    table = classification_table(seeds=3, folds=1, rounding=6)
    found = evaluate(table, QUICK)
    test = table[table["split"] == "test"]
    aucs = [roc_auc_score(rows["label"] == "c1", rows["prob_c1"]) for _, rows in test.groupby("seed")]
    assert found.pooled["auc"].estimate == pytest.approx(np.mean(aucs), abs=1e-12)
    assert found.over_seeds["auc"].sd == pytest.approx(np.std(aucs, ddof=1), abs=1e-12)


def test_survival_pools_the_pairs_within_folds() -> None:
    table = survival_table()
    found = evaluate(table, QUICK)
    test = table[table["split"] == "test"]
    for fold, rows in test.groupby("fold"):
        args = rows["time"].to_numpy(), rows["event"].to_numpy() == 1, rows["risk"].to_numpy()
        assert found.folds[fold]["c_index"].estimate == pytest.approx(c_index(*args), abs=1e-12)
    pooled = found.pooled["c_index"]
    assert pooled.lower < pooled.estimate < pooled.upper
    across = c_index(test["time"].to_numpy(), test["event"].to_numpy() == 1, test["risk"].to_numpy())
    assert across < pooled.estimate - 0.05  # folds of other scales, taken together, would look worse


def test_a_fold_without_a_class_keeps_the_others_and_says_so() -> None:
    table = classification_table(patients=30)
    table.loc[table["fold"] == 1, "label"] = "c0"
    table = table[~((table["fold"] != 1) & table["case_id"].isin(table.loc[table["fold"] == 1, "case_id"]))]
    found = evaluate(table, QUICK)
    assert found.folds[1]["auc"].estimate is None and found.folds[0]["auc"].estimate is not None
    assert found.folds[1]["accuracy"].estimate is not None
    assert any("fold 1 lacks a class" in note for note in found.notes)


def test_a_perfect_score_is_not_sold_as_certainty() -> None:
    table = classification_table()
    table["prob_c1"] = (table["label"] == "c1").astype(float)
    table["prob_c0"] = 1 - table["prob_c1"]
    assert any("AUROC" in note and "overstates certainty" in note for note in evaluate(table, QUICK).notes)
    assert not any("overstates" in note for note in evaluate(classification_table(), QUICK).notes)


def test_metrics_json_is_json_and_says_everything() -> None:
    for table in (classification_table(), survival_table()):
        text = json.dumps(evaluate(table, QUICK).to_dict(), allow_nan=False)
        assert set(json.loads(text)) >= {"schema", "task", "pooled", "folds", "seeds", "over_seeds", "config", "notes"}


def test_an_interval_needs_half_of_the_resamples() -> None:
    values = np.array([0.7, *[np.nan] * 6, 0.6, 0.7, 0.8, 0.9])
    assert interval(values, 0.95).lower is None
    assert interval(np.array([0.7, np.nan, 0.6, 0.8]), 0.95).resamples == 2


def test_weights_are_resampled_patients() -> None:
    weights = patient_weights(30, 50, seed=0)
    assert (weights[0] == 1).all() and (weights.sum(axis=1) == 30).all() and len(weights) == 51
