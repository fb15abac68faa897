"""Multi-scale pooling equals its equations, cell by cell in float64, and keeps every promise of the plain head."""

from __future__ import annotations

import pytest
import torch

from tests.models.bags import random_bag
from wsi2dmamba.core.errors import ConfigError
from wsi2dmamba.models.base import Bag
from wsi2dmamba.models.parts.pooling import AttentionOptions
from wsi2dmamba.models.parts.regions import MultiScaleHead, region_indices
from wsi2dmamba.models.registry import build_model

SIZES = [(7, 5), (1, 6), (9, 4), (1, 1)]


def build(**options):
    torch.manual_seed(0)
    return build_model("2dmamba", 6, 3, {"dim": 8, "state": 2, "regions": [2, 4], **options}).double().eval()


def by_hand(head: MultiScaleHead, tokens: torch.Tensor, bags: list[Bag], sides: list[int]) -> torch.Tensor:
    """Loop over slides, regions and patches: the equation in the class's docstring, read literally."""
    groups_of = [[[i] for i in range(len(tokens))]]
    for side in sides:
        groups: dict[tuple[int, int, int], list[int]] = {}
        patch = 0
        for slide, bag in enumerate(bags):
            top, left = bag.grid.amin(dim=0).tolist()
            for row, col in bag.grid.tolist():
                groups.setdefault((slide, (row - top) // side, (col - left) // side), []).append(patch)
                patch += 1
        groups_of.append(list(groups.values()))
    joined = []
    for attention, groups in zip(head.attentions, groups_of, strict=True):
        means = [sum(tokens[i] for i in members) / len(members) for members in groups]
        scores = torch.stack([attention(mean[None])[0, 0] for mean in means])
        weights = scores.exp() / scores.exp().sum()
        joined.append(sum(weight * mean for weight, mean in zip(weights, means, strict=True)))
    return head.classifier.weight @ torch.cat(joined) + head.classifier.bias


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_equals_its_equations(size, gated):
    torch.manual_seed(1)
    bags = [random_bag(*size, seed=1), random_bag(3, 5, seed=2)]
    head = MultiScaleHead(4, 3, 3, AttentionOptions(attention_dim=5, gated=gated)).double()
    tokens = torch.randn(sum(map(len, bags)), 4, dtype=torch.float64, requires_grad=True)
    mine = head(tokens, [region_indices(bags, side) for side in (2, 4)]).logits
    slow = by_hand(head, tokens, bags, [2, 4])
    torch.testing.assert_close(mine, slow)
    leaves = [tokens, *head.parameters()]
    weights = torch.randn(3, dtype=torch.float64)
    for got, wanted in zip(
        torch.autograd.grad(mine @ weights, leaves, allow_unused=True),
        torch.autograd.grad(slow @ weights, leaves, allow_unused=True),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted, atol=1e-10, rtol=1e-8)


def test_attention_sums_to_one_and_contributions_to_the_logits():
    model = build()
    bags = [random_bag(9, 7, seed=1, dtype=torch.float64), random_bag(3, 10, seed=2, dtype=torch.float64)]
    output = model(bags)
    assert output.attention.shape == (sum(map(len, bags)),)
    assert output.attention.sum().item() == pytest.approx(1)
    torch.testing.assert_close(output.patch_logits.sum(dim=0) + model.head.classifier.bias, output.logits)


def test_regions_hold_tissue_only_and_do_not_join_slides():
    near = Bag(torch.zeros(3, 6), torch.tensor([[4, 4], [5, 5], [9, 9]]), (10, 10))
    assert region_indices([near, near], 2).tolist() == [0, 0, 1, 2, 2, 3]


def test_where_the_slide_lies_does_not_matter():
    model, bag = build(), random_bag(dtype=torch.float64)
    torch.testing.assert_close(model(bag).logits, model(Bag(bag.features, bag.grid + 3, (20, 20))).logits)


def test_every_scale_learns():
    model = build().train()
    model(random_bag(9, 7, dtype=torch.float64)).logits.square().sum().backward()
    assert all(scale.value.weight.grad.abs().sum() > 0 for scale in model.head.attentions)


def test_regions_of_empty_cells_are_refused():
    with pytest.raises(ConfigError, match="regions needs pooling: tissue"):
        build(pooling="all")
