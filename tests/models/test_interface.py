"""What every aggregator owes to training, heatmaps and benchmarks, whichever it is."""

from __future__ import annotations

import pytest
import torch

from tests.models.bags import random_bag
from wsi2dmamba.core.errors import ConfigError, ModelError
from wsi2dmamba.models.base import Aggregator, Bag
from wsi2dmamba.models.registry import build_model, model_names

SMALL = {"dim": 8}


def build(name: str, out_dim: int = 3) -> Aggregator:
    torch.manual_seed(0)
    return build_model(name, 6, out_dim, SMALL)


@pytest.mark.parametrize("name", model_names())
def test_output_has_the_promised_shapes(name):
    bag = random_bag()
    output = build(name).eval()(bag)
    assert output.logits.shape == (3,)
    assert output.attention.shape == (len(bag),)
    assert (output.attention >= 0).all()
    assert output.attention.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", model_names())
def test_patch_logits_add_up_to_the_logits(name):
    model = build(name).eval()
    outputs = [model(random_bag(seed=seed)) for seed in range(2)]
    if outputs[0].patch_logits is None:
        pytest.skip("the head of this model has no additive reading")
    assert all(o.patch_logits.shape == (len(o.attention), 3) for o in outputs)
    rest = [o.logits - o.patch_logits.sum(dim=0) for o in outputs]
    torch.testing.assert_close(rest[0], rest[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", model_names())
def test_every_parameter_learns(name):
    model = build(name).train()
    model.training_label = 1
    for seed in range(3):
        output = model(random_bag(rows=9, cols=11, seed=seed))
        loss = output.logits.square().sum()
        if output.auxiliary_loss is not None:
            loss = loss + output.auxiliary_loss
        loss.backward()
    # A softmax does not see a constant added to all scores: the bias of the score can have no gradient.
    learning = {n: p.grad for n, p in model.named_parameters() if not n.endswith("score.bias")}
    idle = [n for n, grad in learning.items() if grad is None or not grad.abs().sum() > 0]
    assert not idle


@pytest.mark.parametrize("name", model_names())
def test_several_slides_of_a_case_are_judged_together(name):
    bags = [random_bag(seed=1), random_bag(rows=3, cols=10, seed=2)]
    output = build(name).eval()(bags)
    assert output.logits.shape == (3,)
    assert output.attention.shape == (sum(map(len, bags)),)


@pytest.mark.parametrize("name", model_names())
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 1)])
def test_smallest_slides(name, size):
    bag = random_bag(*size)
    output = build(name, out_dim=1).train()(bag)
    output.logits.sum().backward()
    assert torch.isfinite(output.logits).all()


@pytest.mark.parametrize("name", model_names())
def test_the_order_of_the_patches_in_the_bag_does_not_matter(name):
    model, bag = build(name).eval(), random_bag()
    order = torch.randperm(len(bag), generator=torch.Generator().manual_seed(3))
    shuffled = Bag(bag.features[order], bag.grid[order], bag.grid_shape)
    here, there = model(bag), model(shuffled)
    torch.testing.assert_close(here.logits, there.logits, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(here.attention[order], there.attention, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", model_names())
def test_half_precision_features(name):
    bag = random_bag().to("cpu", torch.float16)
    assert torch.isfinite(build(name).eval()(bag).logits).all()


def test_unknown_names_and_options_are_told():
    with pytest.raises(ModelError, match="no model 'abmill'"):
        build_model("abmill", 6, 2)
    with pytest.raises(ConfigError, match="unknown key 'dims'"):
        build_model("mean", 6, 2, {"dims": 4})
