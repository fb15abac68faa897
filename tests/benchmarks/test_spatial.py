"""The spatial benchmark in short: its rules hide nothing in the composition, and space is what separates systems."""

from __future__ import annotations

from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import roc_auc_score

from benchmarks.spatial.__main__ import main
from benchmarks.spatial.cohort import draw_samples, shuffled
from benchmarks.spatial.judge import Budget, judge
from benchmarks.spatial.report import interval, markdown_table
from benchmarks.spatial.rules import RULES, Rule
from benchmarks.spatial.systems import PARAMETERS, TOLERANCE, count_parameters, equal_options
from benchmarks.spatial.tissue import KIND_COUNT, LYMPHOCYTE, TUMOUR
from wsi2dmamba.evaluation.concordance import c_index
from wsi2dmamba.models.registry import model_names

CLASSES = [name for name, rule in RULES.items() if not rule.survival]


@cache
def drawn(name: str, count: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Return the (count, kinds) composition and the outcome, class or closeness, of rasters of a rule."""
    rng = np.random.default_rng(5)
    outcomes = rng.random(count) if RULES[name].survival else np.arange(count) % 2
    rasters = [RULES[name].draw(rng, int(rng.integers(14, 21)), outcome) for outcome in outcomes]
    counts = [np.bincount(kinds[kinds >= 0], minlength=KIND_COUNT) for kinds in rasters]
    return np.array([np.append(c / c.sum(), c.sum() / 300) for c in counts]), outcomes


@pytest.mark.parametrize("name", CLASSES)
def test_only_the_control_can_be_told_from_composition_and_size(name):
    compositions, labels = drawn(name)
    half = len(labels) // 2
    model = LogisticRegression(C=1e4, max_iter=1000).fit(compositions[:half], labels[:half])
    auc = roc_auc_score(labels[half:], model.predict_proba(compositions[half:])[:, 1])
    assert auc > 0.99 if name == "composition" else abs(auc - 0.5) < 0.1


def test_closeness_cannot_be_told_from_composition_and_size():
    compositions, closeness = drawn("distance")
    half = len(closeness) // 2
    guess = LinearRegression().fit(compositions[:half], closeness[:half]).predict(compositions[half:])
    assert abs(spearmanr(guess, closeness[half:]).statistic) < 0.17  # three standard errors


def test_survival_times_follow_the_distance_and_nothing_else():
    rng = np.random.default_rng(0)
    samples = draw_samples(RULES["distance"], 300, seed=3)
    means = np.random.default_rng(12345).normal(size=(KIND_COUNT, samples[0].bag.features.shape[1]))
    apart, shares = [], []
    for sample in samples:
        kinds = torch.cdist(sample.bag.features.double(), torch.from_numpy(means)).argmin(dim=1)
        grid = sample.bag.grid.double()
        tumour, lymphocytes = grid[kinds == TUMOUR], grid[kinds == LYMPHOCYTE]
        apart.append(float(torch.cdist(lymphocytes, tumour).amin(dim=1).median()))
        shares.append([len(tumour) / len(grid), len(lymphocytes) / len(grid), len(grid)])
    times = np.array([sample.case.time for sample in samples])
    events = np.array([sample.case.event for sample in samples])
    assert 0.5 < events.mean() < 0.9
    assert c_index(times, events, -np.array(apart)) > 0.8
    for column in np.array(shares).T:
        jittered = column + 1e-9 * rng.random(len(column))
        assert c_index(times, events, jittered) == pytest.approx(0.5, abs=0.08)


def test_bags_are_drawn_from_the_seed():
    first, again, other = (draw_samples(RULES["rim"], 2, seed)[1].bag for seed in (3, 3, 4))
    torch.testing.assert_close(first.features, again.features)
    assert len(first) != len(other) or not torch.equal(first.features, other.features)


def test_shuffling_keeps_features_outline_and_outcome():
    samples = draw_samples(RULES["rim"], 2, 0)
    for sample, moved in zip(samples, shuffled(samples), strict=True):
        assert not torch.equal(moved.bag.grid, sample.bag.grid)
        assert sorted(map(tuple, moved.bag.grid.tolist())) == sorted(map(tuple, sample.bag.grid.tolist()))
        assert torch.equal(moved.bag.features, sample.bag.features)
        assert moved.case == sample.case


def test_motif_is_tested_larger_than_it_is_trained():
    (sample,) = draw_samples(RULES["motif"], 1, 0, RULES["motif"].test_side)
    assert sample.bag.grid_shape == (100, 100)
    assert (sample.bag.grid.amax(dim=0) - sample.bag.grid.amin(dim=0) > 80).all()


def test_space_separates_the_systems(monkeypatch):
    monkeypatch.setitem(RULES, "adjacency", Rule(RULES["adjacency"].draw, side=(10, 12), noise=0.5))
    budget = Budget(train=80, validation=2, test=80, epochs=4, rates=(4e-3,))
    blind, seeing = (
        judge(name, name, equal_options(name), "adjacency", 0, budget, rate=4e-3) for name in ("abmil", "2dmamba")
    )
    assert abs(blind.score - 0.5) < 0.2
    assert blind.score == pytest.approx(blind.shuffled, abs=1e-6)
    assert seeing.score > 0.9
    assert seeing.shuffled < seeing.score - 0.25


@pytest.mark.parametrize("name", model_names())
def test_every_system_has_equal_parameters_and_learns_survival(monkeypatch, name):
    options = equal_options(name)
    assert abs(count_parameters(name, options) / PARAMETERS - 1) < TOLERANCE
    monkeypatch.setitem(RULES, "distance", Rule(RULES["distance"].draw, side=(8, 9), noise=1.0, survival=True))
    result = judge(name, name, options, "distance", 0, Budget(train=6, validation=4, test=6, epochs=1), rate=None)
    assert 0 <= result.score <= 1
    assert result.rate in Budget.rates
    assert result.megabytes > 0


def test_one_command_resumes_and_makes_table_and_plot(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(RULES, "composition", Rule(RULES["composition"].draw, noise=1.0, side=(8, 9)))
    monkeypatch.setitem(RULES, "rim", Rule(RULES["rim"].draw, noise=1.0, side=(8, 9)))
    main(["--short", "--out", str(tmp_path)])
    assert "| `2dmamba` |" in capsys.readouterr().out
    before = (tmp_path / "spatial.csv").read_text()
    assert len(pd.read_csv(tmp_path / "spatial.csv")) == 6
    assert (tmp_path / "spatial.svg").stat().st_size > 0
    main(["--short", "--out", str(tmp_path)])
    assert (tmp_path / "spatial.csv").read_text() == before


def test_intervals_are_students():
    mean, half = interval(pd.Series([0.7, 0.8, 0.9]))
    assert mean == pytest.approx(0.8)
    assert half == pytest.approx(4.3027 * 0.1 / np.sqrt(3), abs=1e-3)
    assert np.isnan(interval(pd.Series([0.7]))[1])


def test_a_rule_that_was_not_run_is_a_dash():
    row = {"seed": 0, "score": 0.75, "shuffled": 0.5, "rate": 1e-3, "parameters": 10, "milliseconds": 1, "megabytes": 1}
    table = markdown_table(pd.DataFrame([{"system": "a", "rule": "rim", **row}, {"system": "b", "rule": "x", **row}]))
    assert "| `a` | 0.75 (0.50) | — | 10 |" in table
