"""Block and backbone equal an independent rendering of their equations: outputs and all gradients, float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.models.vision import rendering
from wsi2dmamba.models.vision import ImageBackbone, VisionConfig
from wsi2dmamba.models.vision.block import Block


def unsettled(module: nn.Module) -> nn.Module:
    """Move every parameter away from ones and zeros, where mistakes hide."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module.double().eval()


def assert_equal(module: nn.Module, x: Tensor, found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
    weights = torch.randn_like(found)
    tensors = [x, *module.parameters()]
    here, there = (torch.autograd.grad((y * weights).sum(), tensors) for y in (found, expected))
    names = ["input", *(name for name, _ in module.named_parameters())]
    for name, a, b in zip(names, here, there, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("size", [(5, 3), (1, 7), (4, 1)], ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize("state", [1, 3])
def test_block_is_its_equations(size, state):
    torch.manual_seed(1)
    module = unsettled(Block(6, VisionConfig(dim=6, ssm_ratio=1.5, state=state), 0.0))
    x = torch.randn(*size, 6, dtype=torch.float64, requires_grad=True)
    expected = rendering.block({f"b.{name}": p for name, p in module.named_parameters()}, "b", x)
    assert_equal(module, x, module(x[None])[0], expected)


def test_backbone_is_its_equations():
    torch.manual_seed(2)
    config = VisionConfig(depths=(1, 1, 2, 1), dim=4, drop_path=0.3)
    module = unsettled(ImageBackbone(config, 3))
    image = torch.randn(3, 37, 22, dtype=torch.float64, requires_grad=True)
    expected = rendering.logits(dict(module.named_parameters()), config.depths, image)
    assert_equal(module, image, module(image[None])[0], expected)
