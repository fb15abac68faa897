"""Shuffled patches: a model that reads positions loses by it, one that does not is left as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from tests.fabricate import tile_file
from wsi2dmamba.cli import app
from wsi2dmamba.config import parse_config
from wsi2dmamba.core.errors import EvaluationError, InputError
from wsi2dmamba.evaluation import shuffled
from wsi2dmamba.evaluation.config import EvalConfig
from wsi2dmamba.evaluation.shuffled import ShuffledBags, compare_with_shuffled
from wsi2dmamba.features.store import FeatureFile, write_features
from wsi2dmamba.models.base import Aggregator, Bag, SlideOutput
from wsi2dmamba.training.checkpoint import load_model
from wsi2dmamba.training.config import FeatureSource
from wsi2dmamba.training.data import BagStore
from wsi2dmamba.training.run import train_run

QUICK = EvalConfig(resamples=60)


class LeftAgainstRight(Aggregator):
    """Reads nothing but the arrangement: whether the first kind of patch lies on the right."""

    def __init__(self) -> None:
        super().__init__(4, 2)
        self.sharpness = torch.nn.Parameter(torch.tensor(4.0))

    def encode(self, bag: Bag) -> torch.Tensor:
        return bag.features[:, :1] * (bag.grid[:, 1:].sign() * 2 - 1)

    def pool(self, tokens: torch.Tensor) -> SlideOutput:
        score = self.sharpness * tokens.mean()
        return SlideOutput(torch.stack([-score, score]), torch.full((len(tokens),), 1 / len(tokens)))


@pytest.fixture(scope="module")
def arranged_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on slides of the same patches, told apart by the side they lie on, whose models read the side."""
    folder = tmp_path_factory.mktemp("arranged")
    rows, rng = [], np.random.default_rng(0)
    for case in range(24):
        tiles = tile_file(f"s{case:02d}", np.argwhere(np.ones((6, 2))))
        kind = tiles.grid[:, 1] == case % 2
        features = kind[:, None] * 1.0 + rng.normal(size=(12, 4)) * 0.3
        write_features(
            folder / "features" / f"s{case:02d}.h5", FeatureFile(features.astype("f4"), tiles, "made-up", "1")
        )
        rows.append({"slide_id": f"s{case:02d}", "case_id": f"p{case:02d}", "label": ["left", "right"][case % 2]})
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    values = {
        "name": "arranged",
        "output": str(folder / "runs"),
        "cohort": {"csv": str(folder / "cohort.csv"), "label_column": "label"},
        "features": {"dir": str(folder / "features")},
        "splits": {"folds": 2, "validation_fraction": 0.2},
        "model": {"name": "mean"},
        "train": {"epochs": 1, "accelerator": "cpu", "workers": 1},
    }
    return run_with_its_own_predictions(train_run(parse_config(values), workers=1))


def run_with_its_own_predictions(run: Path) -> Path:
    table = pd.read_csv(run / "predictions.csv")
    features = run.parent.parent / "features"
    store = BagStore({path.stem: path for path in features.glob("*.h5")}, FeatureSource(dir=features))
    model = LeftAgainstRight()
    for row in table.index:
        logits = model([store.bag(table.loc[row, "case_id"].replace("p", "s"))]).logits
        table.loc[row, ["prob_left", "prob_right"]] = torch.softmax(logits.double(), dim=0).detach().numpy()
    table.to_csv(run / "predictions.csv", index=False)
    return run


@pytest.fixture
def reads_sides(arranged_run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shuffled, "load_model", lambda path: replace(load_model(path), model=LeftAgainstRight().eval()))
    return arranged_run


def test_a_model_that_reads_the_arrangement_falls_to_chance(reads_sides: Path) -> None:
    found = compare_with_shuffled(reads_sides, QUICK)
    auc = found.metrics["auc"]
    assert found.patients == 24 and auc.a.estimate == 1.0
    assert auc.b.lower < 0.5 < auc.b.upper and auc.b.estimate < 0.7
    assert auc.difference.lower > 0.2 and auc.p_value < 0.01
    assert found == compare_with_shuffled(reads_sides, QUICK)


def test_a_model_that_pools_patches_is_left_as_it_was(classification_run: Path) -> None:
    found = compare_with_shuffled(classification_run, QUICK, shuffles=2)
    for name, metric in found.metrics.items():
        assert metric.difference.estimate == pytest.approx(0, abs=1e-6), name


def test_patches_change_places_and_nothing_else(classification_run: Path) -> None:
    features = classification_run.parent.parent / "features"
    paths = {path.stem: path for path in features.glob("*.h5")}
    store = ShuffledBags(paths, FeatureSource(dir=features), seed=3)
    slide = "case-002-s0"
    moved, there = store.bag(slide), super(ShuffledBags, store).bag(slide)
    assert torch.equal(moved.grid, there.grid) and moved.grid_shape == there.grid_shape
    assert not torch.equal(moved.features, there.features)
    assert torch.equal(moved.features.sum(1).sort().values, there.features.sum(1).sort().values)
    assert torch.equal(moved.features, ShuffledBags(paths, FeatureSource(dir=features), seed=3).bag(slide).features)
    store.seed = 4
    assert not torch.equal(moved.features, store.bag(slide).features)


def test_the_command_puts_it_into_the_report(reads_sides: Path, tmp_path: Path) -> None:
    arguments = ["eval", str(reads_sides), "--shuffle-coordinates", "--resamples", "40", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.exception
    assert "patches shuffled" in result.output
    assert json.loads((tmp_path / "shuffled-patches.json").read_text())["metrics"]["auc"]["p_value"] < 0.05
    assert "Does the model use where patches lie?" in (tmp_path / "report.html").read_text()


def test_it_needs_the_run_as_it_was_trained(classification_run: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["eval", "-p", "x.csv", "--out", str(tmp_path), "--shuffle-coordinates"])
    assert isinstance(result.exception, InputError) and "needs a run folder" in str(result.exception)
    state = classification_run / "inputs.json"
    before = state.read_text()
    state.write_text('{"digest": "another"}')
    try:
        with pytest.raises(EvaluationError, match="have changed since its training"):
            compare_with_shuffled(classification_run, QUICK)
    finally:
        state.write_text(before)
