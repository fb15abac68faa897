from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from wsi2dmamba.core.errors import CheckpointError
from wsi2dmamba.models.registry import build_model
from wsi2dmamba.training.checkpoint import TrainedModel, load_model, save_model
from wsi2dmamba.training.preflight import FeatureDescription
from wsi2dmamba.training.tasks.classification import Classification


@pytest.fixture
def fold(tmp_path: Path) -> Path:
    model = build_model("mean", 8, 2, {})
    features = FeatureDescription(8, "made-up", "1", 0.5, 256, 0, tiling='{"min_tissue": 0.3}')
    trained = TrainedModel(model, Classification(["a", "b"]), "mean", {}, features, "join", 0, 5)
    (tmp_path / "fold").mkdir()
    save_model(tmp_path / "fold", trained, model.state_dict(), {"best_epoch": 1})
    return tmp_path / "fold"


def test_a_saved_model_comes_back(fold: Path) -> None:
    loaded = load_model(fold)
    assert (loaded.model_name, loaded.several_slides, loaded.fold, loaded.seed) == ("mean", "join", 0, 5)
    assert loaded.features.tiling == '{"min_tissue": 0.3}' and loaded.task.state()["class_names"] == ["a", "b"]
    for name, value in load_file(fold / "model.safetensors").items():
        assert torch.equal(loaded.model.state_dict()[name], value)


def test_a_model_of_before_tile_settings_were_kept_is_read(fold: Path) -> None:
    described = json.loads((fold / "model.json").read_text())
    del described["features"]["tiling"]
    (fold / "model.json").write_text(json.dumps(described))
    assert load_model(fold).features.tiling == "{}"


def test_a_tampered_or_foreign_model_is_refused(fold: Path) -> None:
    weights = load_file(fold / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, fold / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"not the file that model.json describes"):
        load_model(fold)
    described = json.loads((fold / "model.json").read_text())
    (fold / "model.json").write_text(json.dumps({**described, "schema": "wsi2dmamba-model/0"}))
    with pytest.raises(CheckpointError, match=r"schema 'wsi2dmamba-model/0'"):
        load_model(fold)
    (fold / "model.json").write_text("{")
    with pytest.raises(CheckpointError, match="no valid JSON"):
        load_model(fold)
    with pytest.raises(CheckpointError, match="is a pickle"):
        load_model(fold / "model.pt")
    with pytest.raises(CheckpointError, match=r"has no model.json"):
        load_model(fold.parent)


def test_weights_of_another_model_are_refused(fold: Path) -> None:
    described = json.loads((fold / "model.json").read_text())
    (fold / "model.json").write_text(json.dumps({**described, "in_dim": 99}))
    with pytest.raises(CheckpointError, match=r"does not describe model.safetensors"):
        load_model(fold)
