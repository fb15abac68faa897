import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score
from typer.testing import CliRunner

from tests.evaluation.made_up import classification_table, survival_table
from wsi2dmamba.cli import app
from wsi2dmamba.core.errors import EvaluationError
from wsi2dmamba.evaluation.compare import compare
from wsi2dmamba.evaluation.config import EvalConfig
from wsi2dmamba.evaluation.delong import auc_influence, delong_p_value
from wsi2dmamba.evaluation.predictions import read_predictions

QUICK = EvalConfig(resamples=300)


def _pair(**options):
    strong = classification_table(patients=120, signal=1.6, rounding=3, seed=1, **options)
    weak = classification_table(patients=120, signal=0.6, rounding=3, seed=2, **options)
    return read_predictions(strong), read_predictions(weak)


def _delong_by_definition(truth: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """The 1988 paper's formulas written out with the kernel ψ and 2×2 covariance matrices."""
    psi = [(x[truth][:, None] > x[~truth]) + 0.5 * (x[truth][:, None] == x[~truth]) for x in (a, b)]
    s10 = np.cov([p.mean(axis=1) for p in psi])
    s01 = np.cov([p.mean(axis=0) for p in psi])
    s = s10 / truth.sum() + s01 / (~truth).sum()
    error = np.sqrt(s[0, 0] + s[1, 1] - 2 * s[0, 1])
    return float(2 * norm.sf(abs(psi[0].mean() - psi[1].mean()) / error))


def test_delong_equals_the_paper_on_one_fold() -> None:
    rows = [p.rows("test") for p in _pair(folds=1)]
    (auc_a, psi_a), (auc_b, psi_b) = (auc_influence(r, [1]) for r in rows)
    truth = rows[0].label == 1
    assert auc_a == pytest.approx(roc_auc_score(truth, rows[0].probability[:, 1]), abs=1e-12)
    expected = _delong_by_definition(truth, rows[0].probability[:, 1], rows[1].probability[:, 1])
    assert delong_p_value(auc_a - auc_b, psi_a, psi_b) == pytest.approx(expected, rel=1e-9)
    assert expected < 0.05


def test_delong_over_folds_agrees_with_the_bootstrap() -> None:
    rows = [p.rows("test") for p in _pair(folds=3)]
    (_, psi_a), (_, psi_b) = (auc_influence(r, [1]) for r in rows)
    found = compare(*_pair(folds=3), EvalConfig(resamples=2000)).metrics["auc"]
    by_bootstrap = (found.difference.upper - found.difference.lower) / (2 * norm.ppf(0.975))
    assert np.sqrt(((psi_a - psi_b) ** 2).sum()) == pytest.approx(by_bootstrap, rel=0.12)


def test_a_better_system_is_better_and_the_same_is_not() -> None:
    strong, weak = _pair()
    found = compare(strong, weak, QUICK)
    auc = found.metrics["auc"]
    assert auc.test == "DeLong" and auc.p_value < 0.01 and auc.difference.lower > 0
    assert found.metrics["brier"].test == "permutation" and found.metrics["brier"].p_value < 0.05
    for one in compare(strong, strong, QUICK).metrics.values():
        assert one.difference.estimate == 0 and one.p_value == 1


def test_permutation_p_values_are_uniform_under_the_null() -> None:
    # Two equally good, independent models: P below 0.1 in about a tenth of the repetitions.
    p_values = []
    for k in range(60):
        tables = [
            classification_table(patients=40, folds=1, signal=1, validation=False, seed=100 * s + k) for s in (1, 2)
        ]
        p_values.append(compare(*map(read_predictions, tables), EvalConfig(resamples=99)).metrics["brier"].p_value)
    assert 0.3 < np.mean(p_values) < 0.7 and np.mean(np.array(p_values) < 0.1) < 0.25


def test_survival_risks_of_two_systems_need_no_common_scale() -> None:
    table = survival_table(patients=120, effect=1.5)
    other = table.assign(risk=np.random.default_rng(99).normal(size=len(table)))
    plain = compare(read_predictions(table), read_predictions(other), QUICK).metrics["c_index"]
    stretched = table.assign(risk=1000 * table["risk"] + 7)
    again = compare(read_predictions(stretched), read_predictions(other), QUICK).metrics["c_index"]
    assert plain == again and plain.p_value < 0.05 and plain.difference.lower > 0


def test_only_shared_patients_are_compared_and_that_is_said() -> None:
    strong, _ = _pair()
    fewer = read_predictions(strong.table[~strong.table["case_id"].isin(["p000", "p001"])])
    found = compare(strong, fewer, QUICK)
    assert found.patients == 118 and "2 test patients of A" in found.notes[0]
    assert found.metrics["auc"].difference.estimate == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.assign(case_id="x" + t["case_id"]), "no test patient in common"),
        (lambda t: t.assign(label=np.where(t["case_id"] == "p004", "c1", t["label"])), "another label in B"),
        (lambda t: t.rename(columns={"prob_c0": "prob_z"}).replace({"label": {"c0": "z"}}), "the classes differ"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, says: str) -> None:
    table = classification_table()
    with pytest.raises(EvaluationError, match=says):
        compare(read_predictions(table), read_predictions(change(table)), QUICK)


def test_tasks_must_agree() -> None:
    with pytest.raises(EvaluationError, match="cannot be compared"):
        compare(read_predictions(classification_table()), read_predictions(survival_table()), QUICK)


def test_the_command_prints_and_writes(tmp_path: Path) -> None:
    for name, one in zip("ab", _pair(), strict=True):
        one.table.to_csv(tmp_path / f"{name}.csv", index=False)
    arguments = [str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), "--out", str(tmp_path / "o"), "--resamples", "50"]
    result = CliRunner().invoke(app, ["compare", *arguments])
    assert result.exit_code == 0 and "DeLong" in result.output
    assert json.loads((tmp_path / "o" / "comparison.json").read_text())["metrics"]["auc"]["p_value"] < 0.05
