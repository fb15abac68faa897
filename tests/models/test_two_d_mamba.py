"""The options of 2DMamba do what they say."""

from __future__ import annotations

import pytest
import torch

from tests.models.bags import random_bag
from wsi2dmamba.core.errors import ConfigError, ModelError
from wsi2dmamba.models.base import Bag
from wsi2dmamba.models.parts.blocks import DropPath, drop_path_rates
from wsi2dmamba.models.registry import build_model, parse_options


def build(**options):
    torch.manual_seed(0)
    return build_model("2dmamba", 6, 3, {"dim": 8, "state": 2, **options}).eval()


@pytest.mark.parametrize(("init", "low", "high"), [("mamba", 0.001, 0.1), ("zero", 0.693, 0.694)])
def test_step_sizes_start_where_asked(init, low, high):
    step = torch.nn.functional.softplus(build(dt_init=init).blocks[0].mixer.selective[0].dt_proj.bias)
    assert (step >= 0.999 * low).all() and (step <= 1.001 * high).all()


def test_the_preset_fills_only_what_is_not_given():
    options = parse_options("2dmamba", {"preset": "paper", "dim": 64})
    assert (options.dim, options.conv, options.pooling, options.corners) == (64, "1d", "all", 1)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"conv_kernel": 4}, "conv_kernel must be odd"),
        ({"conv": "3d"}, "conv"),
        ({"layers": 0}, "layers"),
        ({"corner_parameters": "separate"}, "separate needs corners: 4"),
    ],
)
def test_wrong_options_are_told(options, told):
    with pytest.raises(ConfigError, match=told):
        build(**options)


def test_a_slide_larger_than_the_fixed_grid_is_told():
    with pytest.raises(ModelError, match="7 × 5 patches does not fit the model's grid_shape 4 × 4"):
        build(grid_shape=(4, 4))(random_bag(7, 5))


def test_pooling_over_all_cells_sees_the_padding():
    bag = random_bag(5, 4)
    tissue, padded = ([build(pooling=p, grid_shape=g)(bag) for g in (None, (9, 9))] for p in ("tissue", "all"))
    assert not torch.allclose(padded[0].logits, padded[1].logits, atol=1e-4)
    for output in (*tissue, *padded):
        assert output.attention.shape == (len(bag),)
        assert output.attention.sum().item() == pytest.approx(1, abs=1e-5)


def test_one_corner_sees_only_what_lies_above_and_left():
    model = build(corners=1, conv="none")
    bag = random_bag(5, 5, keep=1.0)
    changed = bag.features.clone()
    here = (bag.grid == torch.tensor([2, 2])).all(dim=1)
    changed[here] += 1
    moved = (model.encode(bag) - model.encode(Bag(changed, bag.grid, bag.grid_shape))).abs().amax(dim=1) > 1e-7
    below_right = (bag.grid >= 2).all(dim=1)
    assert torch.equal(moved, below_right)


def test_where_the_slide_lies_on_its_lattice_does_not_matter():
    model, bag = build(), random_bag()
    shifted = Bag(bag.features, bag.grid + torch.tensor([3, 11]), (20, 30))
    torch.testing.assert_close(model(bag).logits, model(shifted).logits)


def test_stochastic_depth_rises_with_depth_and_keeps_the_mean():
    assert drop_path_rates(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    torch.manual_seed(0)
    dropped = DropPath(0.25).train()(torch.ones(4000, 2))
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert dropped.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(DropPath(0.25).eval()(torch.ones(4, 2)), torch.ones(4, 2))
