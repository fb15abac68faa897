"""The published 2DMamba module, number for number (golden files, float64)."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from tests.shared_data import shared_path
from wsi2dmamba.core.errors import ModelError
from wsi2dmamba.models.base import Bag
from wsi2dmamba.models.published import load_published_state, parameter_name

TOLERANCE = 1e-8


def load(task: str) -> tuple[dict[str, Any], dict[str, Any], Bag, dict[str, Any]]:
    with np.load(shared_path(f"golden/paper_mil_{task}.npz")) as file:
        golden = dict(file)
    config = json.loads(str(golden["config"]))
    state = {name.removeprefix("state/"): golden[name] for name in golden if name.startswith("state/")}
    step = int(golden["patch_size_level0"])
    grid = torch.from_numpy(golden["coords"] // step).flip(1)
    bag = Bag(torch.from_numpy(golden["features"]).requires_grad_(), grid, tuple(golden["grid_shape"].tolist()))
    return config, state, bag, golden


@pytest.mark.parametrize("task", ["classification", "survival"])
def test_outputs_and_gradients_are_the_published(task):
    config, state, bag, golden = load(task)
    background = "learned" if config["pad_token"] == "trainable" else "zero"
    model = load_published_state(state, tuple(config["grid_shape"]), background)
    logits = model(bag).logits
    if task == "survival":
        outputs = torch.sigmoid(logits)
        survival = torch.cumprod(1 - outputs, dim=0)
        np.testing.assert_allclose(survival.detach(), golden["survival"][0], atol=TOLERANCE)
        np.testing.assert_allclose(outputs.detach(), golden["hazards"][0], atol=TOLERANCE)
    else:
        outputs = logits
        np.testing.assert_allclose(torch.softmax(logits.detach(), 0), golden["probs"][0], atol=TOLERANCE)
        np.testing.assert_allclose(logits.detach(), golden["logits"][0], atol=TOLERANCE)
    (outputs * torch.from_numpy(golden["loss_weights"])).sum().backward()
    np.testing.assert_allclose(bag.features.grad, golden["grad/features"], atol=TOLERANCE)
    parameters = dict(model.named_parameters())
    graded = [name.removeprefix("grad/") for name in golden if name.startswith("grad/") and name != "grad/features"]
    assert {parameter_name(name) for name in graded} == set(parameters)
    for name in graded:
        here = parameters[parameter_name(name)].grad
        np.testing.assert_allclose(here, golden[f"grad/{name}"], atol=TOLERANCE, err_msg=name)


def test_other_parameters_are_refused_in_one_line():
    with pytest.raises(ModelError, match=r"project\.0\.weight.*missing"):
        load_published_state({"encoder.weight": torch.zeros(2, 2)})
