"""A training on fabricated patches: it learns, goes on where it stopped, and its encoder is its model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from benchmarks.tiles import texture_predictions
from tests.fabricate import tile_folder
from wsi2dmamba.cli import app
from wsi2dmamba.core.errors import ConfigError, ModelError
from wsi2dmamba.evaluation.judge import evaluate
from wsi2dmamba.evaluation.predictions import read_predictions
from wsi2dmamba.features.encoders import load_encoder
from wsi2dmamba.models.vision import from_file
from wsi2dmamba.training.tiles.config import TileRun, parse_tile_run
from wsi2dmamba.training.tiles.module import TileModule, normalise, to_unit
from wsi2dmamba.training.tiles.pixels import read_image
from wsi2dmamba.training.tiles.run import train_tiles


def quick(data: Path, out: Path, **changes: Any) -> TileRun:
    learning = {"epochs": 10, "batch_size": 8, "lr": 3e-3, "accelerator": "cpu", **changes.pop("train", {})}
    # Stripes along rows and columns differ by a quarter turn: turning would mix the classes up.
    values = {"size": "nano", "px": 32, "parts": 3, "augment": {"symmetries": False}, "train": learning, **changes}
    return parse_tile_run({"tiles": {"data": data}, "out": out, **values})


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[TileRun, list[str]]:
    folder = tmp_path_factory.mktemp("tiles")
    tile_folder(folder / "data", per_patient=6)
    (folder / "data" / "down" / "p0" / "broken.png").write_bytes(b"no image")
    run, said = quick(folder / "data", folder / "run", mpp=0.5), []
    train_tiles(run, say=said.append)
    return run, said


def test_it_learns_and_says_what_it_skipped(trained):
    run, said = trained
    assert said[0].startswith("skipped 1 of 73 images that cannot be read") and "broken.png" in said[0]
    assert "72 images: across 36, down 36" in said and "6 groups, none of them divided" in said
    history = pd.read_csv(run.out / "fold-0" / "history.csv")
    assert history["train_loss"].iloc[-1] < 0.75 * history["train_loss"].iloc[0]
    predictions = pd.read_csv(run.out / "predictions.csv")
    test = predictions[predictions["split"] == "test"]
    assert ((test["prob_down"] > 0.5) == (test["label"] == "down")).mean() > 0.9
    assert not set(test["case_id"]) & set(predictions.loc[predictions["split"] != "test", "case_id"])


def test_eval_judges_its_predictions(trained):
    found = evaluate(read_predictions(trained[0].out / "predictions.csv"))
    assert found.predictions.task == "classification"


def test_encoder_is_the_model(trained):
    run, _ = trained
    encoder, checkpoint = load_encoder(f"2dvmamba:{run.out}"), from_file(run.out / "fold-0")
    assert encoder.info.name == "2dvmamba-run-fold-0" and encoder.info.mpp == pytest.approx(0.5 * 40 / 32)
    image, _ = read_image(run.tiles.data / "across" / "p1" / "0.png", 32)
    pixels = torch.from_numpy(image)[None]
    with torch.no_grad():
        expected = checkpoint.model.features(normalise(to_unit(pixels), checkpoint.input))
        probability = torch.softmax(checkpoint.model.head(expected).double(), 1)[0, 0]
    torch.testing.assert_close(encoder.encode(pixels), expected, atol=1e-5, rtol=1e-4)
    table = pd.read_csv(run.out / "predictions.csv").set_index("tile")
    assert table.loc["across/p1/0.png", "prob_across"] == pytest.approx(float(probability), abs=1e-5)


def test_a_finished_run_is_left_alone_and_another_is_refused(trained):
    run, _ = trained
    before = contents(run.out / "fold-0")
    train_tiles(run)
    assert contents(run.out / "fold-0") == before
    with pytest.raises(ConfigError, match=r"other settings; use --overwrite"):
        train_tiles(run.model_copy(update={"label_smoothing": 0.3}))
    with pytest.raises(ConfigError, match="something else"):
        (run.out.parent / "other" / "fold-0").mkdir(parents=True)
        train_tiles(run.model_copy(update={"out": run.out.parent / "other"}))
    with pytest.raises(ModelError, match="unknown size"):
        train_tiles(run.model_copy(update={"size": "huge"}))


def test_an_interrupted_training_ends_as_if_undisturbed(tmp_path, monkeypatch):
    data = tile_folder(tmp_path / "data", per_patient=2)
    fast = {"train": {"epochs": 2, "checkpoint_seconds": 0, "ema": 0.9}, "folds": 2}
    undisturbed, disturbed = (quick(data, tmp_path / name, **fast) for name in ("a", "b"))
    train_tiles(undisturbed)
    step, done = TileModule.training_step, []

    def stopping(self: TileModule, batch: Any, batch_idx: int) -> torch.Tensor:
        done.append(batch_idx)
        if len(done) in (2, 5):
            raise RuntimeError("killed")
        return step(self, batch, batch_idx)

    monkeypatch.setattr(TileModule, "training_step", stopping)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="killed"):
            train_tiles(disturbed)
    train_tiles(disturbed)
    for fold in ("fold-0", "fold-1"):
        assert contents(disturbed.out / fold) == contents(undisturbed.out / fold)


def test_the_benchmark_judges_texture_on_the_same_divisions(trained):
    run, _ = trained
    own, baseline = pd.read_csv(run.out / "predictions.csv"), texture_predictions(run, 40)
    columns = ["case_id", "tile", "fold", "split", "label"]
    both = [table[columns].sort_values("tile", ignore_index=True) for table in (own, baseline)]
    pd.testing.assert_frame_equal(*both, check_dtype=False)
    assert np.allclose(baseline[["prob_across", "prob_down"]].sum(axis=1), 1)


def test_the_command_says_what_is_wrong_in_one_line(tmp_path):
    data = tile_folder(tmp_path / "data", per_patient=1)
    for path in (data / "down").rglob("*.png"):
        path.write_bytes(b"no image")
    result = CliRunner().invoke(app, ["train-tiles", "--data", str(data), "--out", str(tmp_path / "run")])
    assert str(result.exception).endswith("fewer than two classes have a readable image")
    assert not (tmp_path / "run").exists()
