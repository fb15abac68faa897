"""The first layer: features as they are stored, or standardised over each slide."""

from __future__ import annotations

import pytest
import torch

from wsi2dmamba.models.parts.projection import Projection, ProjectionOptions, standardised
from wsi2dmamba.models.registry import build_model


def test_standardised_features_have_mean_0_and_deviation_1_and_flat_ones_stay_small():
    features = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([5.0, 1.0, 1e-4]) + 7
    result = standardised(features)
    assert result.mean(dim=0).abs().max() < 1e-4
    assert torch.allclose(result.std(dim=0)[:2], torch.ones(2), atol=0.02)
    assert result[:, 2].abs().max() < 0.1
    assert torch.isfinite(standardised(features[:1])).all()


@pytest.mark.parametrize("how, same", [("slide", True), ("none", False)])
def test_only_standardised_tokens_ignore_a_shift_of_the_whole_slide(how, same):
    torch.manual_seed(0)
    project = Projection(6, ProjectionOptions(dim=4, dropout=0.0, standardise=how)).eval()
    features = torch.randn(50, 6)
    assert torch.allclose(project(features), project(2 * features + 3), atol=0.05) is same


def test_option_adds_no_weights():
    plain = build_model("abmil", 6, 2, {"dim": 8})
    told = build_model("abmil", 6, 2, {"dim": 8, "standardise": "slide"})
    assert list(plain.state_dict()) == list(told.state_dict())
