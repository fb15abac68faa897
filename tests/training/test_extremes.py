"""Slides and times at the ends of what they can be: one patch and a hundred thousand, all times tied or zero."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.fabricate import tile_file
from tests.training.runs import run_values
from wsi2dmamba.config import parse_config
from wsi2dmamba.evaluation.config import EvalConfig
from wsi2dmamba.evaluation.run import evaluate_run
from wsi2dmamba.features.store import FeatureFile, write_features
from wsi2dmamba.training.run import train_run


@pytest.mark.parametrize("model", ["2dmamba", "abmil"])
def test_one_patch_and_a_hundred_thousand_are_trained_on(model: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for case, side in enumerate([1, 1, 4, 4, 4, 4, 317, 317]):
        grid = np.argwhere(np.ones((side, side)))
        matrix = (rng.standard_normal((len(grid), 4)) + case % 2).astype(np.float16)
        tiles = tile_file(f"s{case}", grid)
        write_features(tmp_path / "features" / f"s{case}.h5", FeatureFile(matrix, tiles, "made-up", "1"))
        rows.append({"slide_id": f"s{case}", "case_id": f"p{case}", "label": f"c{case % 2}"})
        rows[-1]["part"] = ["train", "train", "val", "val", "test", "test", "train", "test"][case]
    pd.DataFrame(rows).to_csv(tmp_path / "cohort.csv", index=False)
    options = {"dim": 8, "state": 4} if model == "2dmamba" else {}
    values = {
        "name": "odd",
        "output": str(tmp_path / "runs"),
        "cohort": {"csv": str(tmp_path / "cohort.csv"), "label_column": "label"},
        "features": {"dir": str(tmp_path / "features")},
        "splits": {"kind": "column", "column": "part"},
        "model": {"name": model, **options},
        "train": {"epochs": 1, "accelerator": "cpu", "workers": 1},
    }
    table = pd.read_csv(train_run(parse_config(values), workers=1) / "predictions.csv")
    assert len(table) == 8 and np.isfinite(table[["prob_c0", "prob_c1"]].to_numpy()).all()


@pytest.mark.parametrize("task", ["survival", "cox"])
@pytest.mark.parametrize("time", [5.0, 0.0], ids=["tied", "zero"])
def test_times_that_say_nothing_are_trained_on_and_judged_as_such(task: str, time: float, tmp_path: Path) -> None:
    values = run_values(tmp_path, task=task, cases=12, train={"epochs": 1, "batch_size": 4})
    pd.read_csv(tmp_path / "cohort.csv").assign(time=time).to_csv(tmp_path / "cohort.csv", index=False)
    found, report = evaluate_run(train_run(parse_config(values), workers=1), EvalConfig(resamples=30))
    assert report.is_file() and found.risk_groups is not None
    # An event and a censored patient at one time are still a pair; where there is none, nothing is claimed.
    assert found.pooled["c_index"].estimate is None or 0 <= found.pooled["c_index"].estimate <= 1
