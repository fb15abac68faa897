"""The spatial benchmark in short: its rules hide nothing in the composition, and space is what separates systems."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.spatial.cohort import draw_bags, shuffled
from benchmarks.spatial.judge import Budget, judge, options_for, saved_megabytes
from benchmarks.spatial.rules import KIND_COUNT, RULES, Rule
from wsi2dmamba.models.registry import build_model, model_names


@pytest.mark.parametrize("name", RULES)
def test_only_the_control_can_be_told_from_composition(name):
    rule = RULES[name]
    side = min(rule.side[1], 30)
    shares = {0: [], 1: []}
    for seed in range(60):
        kinds = rule.draw(np.random.default_rng(seed), side, seed % 2)
        shares[seed % 2].append(np.bincount(kinds[kinds >= 0], minlength=KIND_COUNT) / (kinds >= 0).sum())
    gap = np.abs(np.mean(shares[0], axis=0) - np.mean(shares[1], axis=0)).max()
    assert gap > 0.02 if name == "composition" else gap < 0.015


def test_bags_are_drawn_from_the_seed():
    first, again, other = (draw_bags(RULES["rim"], 2, seed)[1][0] for seed in (3, 3, 4))
    torch.testing.assert_close(first.features, again.features)
    assert len(first) != len(other) or not torch.equal(first.features, other.features)


def test_shuffling_keeps_the_outline():
    bag, _ = draw_bags(RULES["rim"], 1, 0)[0]
    moved = shuffled(bag)
    assert not torch.equal(moved.grid, bag.grid)
    assert sorted(map(tuple, moved.grid.tolist())) == sorted(map(tuple, bag.grid.tolist()))
    assert torch.equal(moved.features, bag.features)


def test_space_separates_the_systems(monkeypatch):
    easy = Rule(RULES["adjacency"].draw, side=(10, 12), noise=0.7)
    monkeypatch.setitem(RULES, "adjacency", easy)
    budget = Budget(train=50, validation=20, test=80, epochs=8, learning_rates=(3e-3,))
    blind, seeing = (judge(model, "adjacency", 0, budget) for model in ("abmil", "2dmamba"))
    assert abs(blind.auc - 0.5) < 0.2
    assert blind.auc == pytest.approx(blind.auc_shuffled, abs=1e-6)
    assert seeing.auc > 0.9
    assert seeing.auc_shuffled < seeing.auc - 0.25


@pytest.mark.parametrize("name", model_names())
def test_every_system_takes_the_benchmark_options(name):
    model = build_model(name, 64, 2, options_for(name))
    bag, _ = draw_bags(Rule(RULES["rim"].draw, side=(8, 9)), 1, 0)[0]
    assert saved_megabytes(model, bag) > 0
