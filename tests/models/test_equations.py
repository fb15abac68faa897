"""Every system equals an independent rendering of its paper's equations: logits and all gradients, float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models import renderings
from tests.models.bags import random_bag
from tests.models.equations import on_raster
from wsi2dmamba.models.base import Aggregator, Bag
from wsi2dmamba.models.parts.lattice import Lattice2D
from wsi2dmamba.models.registry import build_model

SIZES = [(5, 3), (1, 7), (6, 9)]
OPTIONS: dict[str, dict[str, Any]] = {"s4mil": {"state": 4}, "spatial-mamba": {}, "hi-mamba": {"state": 2, "layers": 4}}


def small(name: str, plain: bool = False, **options: Any) -> Aggregator:
    """Return a small model in float64; a `plain` one is neither on a raster nor on a list."""
    torch.manual_seed(0)
    scanning = {} if plain else {"attention_dim": 5, **OPTIONS.get(name, {"state": 2})}
    options = {"dim": 8, **scanning, **options}
    model = build_model(name, 6, 3, options).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():  # away from ones and zeros, where mistakes hide
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def assert_equal(model: Aggregator, bag: Bag, expected: Tensor) -> None:
    found = model(bag).logits
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    weights = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    tensors = [bag.features, *model.parameters()]
    here, there = (
        torch.autograd.grad((y * weights).sum(), tensors, allow_unused=True, materialize_grads=True)
        for y in (found, expected)
    )
    names = ["features", *(name for name, _ in model.named_parameters())]
    for name, a, b in zip(names, here, there, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


def bag_of(size: tuple[int, int]) -> Bag:
    bag = random_bag(*size, dtype=torch.float64)
    return Bag(bag.features.requires_grad_(), bag.grid, bag.grid_shape)


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize("name", [*renderings.RASTER, *renderings.LIST, "s4mil"])
def test_system_is_its_equations(name, size):
    model, bag = small(name), bag_of(size)
    assert_equal(model, bag, renderings.logits(name, dict(model.named_parameters()), bag))


@pytest.mark.parametrize("gaps", ["scan", "cross"])
@pytest.mark.parametrize(
    "options",
    [{}, {"corners": 4}, {"corners": 4, "corner_parameters": "separate"}, {"layers": 3, "drop_path": 0.5}],
    ids=str,
)
def test_options_of_2dmamba(options: dict[str, Any], gaps: str) -> None:
    model, bag = small("2dmamba", gaps=gaps, **options), bag_of((5, 6))
    blank = torch.ones(5, 6, dtype=torch.bool)
    blank[bag.grid[:, 0], bag.grid[:, 1]] = False

    def mixer(P: renderings.Parameters, name: str, x: Tensor, layer: int) -> Tensor:
        crossed = blank if gaps == "cross" else None
        return renderings.two_d_mamba(P, name, x, layer, crossed, options.get("corners", 1))

    assert_equal(model, bag, on_raster(dict(model.named_parameters()), bag, mixer, options.get("layers", 1)))


@pytest.mark.parametrize("options", [{}, {"corners": 4, "corner_parameters": "separate"}, {"layers": 2}], ids=str)
def test_cells_far_from_tissue_are_computed_once(options: dict[str, Any]) -> None:
    rows, cols = 11, 9
    grid = torch.tensor([[0, 0], [4, 3], [4, 4], [rows - 1, cols - 1]])
    features = torch.randn(len(grid), 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    bag, model = Bag(features.requires_grad_(), grid, (rows, cols)), small("2dmamba", **options)
    assert len(Lattice2D.of(bag).grown(1).cells) < 0.6 * rows * cols

    def mixer(P: renderings.Parameters, name: str, x: Tensor, layer: int) -> Tensor:
        return renderings.two_d_mamba(P, name, x, layer, corners=options.get("corners", 1))

    assert_equal(model, bag, on_raster(dict(model.named_parameters()), bag, mixer, options.get("layers", 1)))
