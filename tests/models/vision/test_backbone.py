"""What goes in and out of the backbone."""

from __future__ import annotations

import pytest
import torch

from wsi2dmamba.core.errors import ModelError
from wsi2dmamba.models.vision import CONFIGS, FeaturePyramid, ImageBackbone, VisionConfig
from wsi2dmamba.models.vision.config import find_config

SMALL = VisionConfig(depths=(1, 1, 1, 1), dim=8, drop_path=0.0)


@pytest.mark.parametrize("size", [(64, 64), (33, 70), (1, 5)], ids=lambda s: f"{s[0]}x{s[1]}")
def test_feature_maps_of_any_size_have_strides_4_to_32(size):
    backbone = ImageBackbone(SMALL)
    maps = backbone.feature_maps(torch.randn(2, 3, *size))
    pyramid = FeaturePyramid(backbone)(torch.randn(2, 3, *size))
    for index, (raw, normed) in enumerate(zip(maps, pyramid, strict=True)):
        stride = 4 << index
        assert raw.shape == normed.shape == (2, SMALL.widths[index], -(-size[0] // stride), -(-size[1] // stride))
        assert raw.permute(0, 2, 3, 1).is_contiguous()
    torch.testing.assert_close(pyramid[0].mean(1), torch.zeros_like(pyramid[0][:, 0]), atol=1e-5, rtol=0)


def test_memory_format_and_batch_do_not_change_the_answer():
    torch.manual_seed(0)
    model = ImageBackbone(SMALL, 3).eval()
    images = torch.randn(3, 3, 40, 40)
    together = model(images)
    assert together.shape == (3, 3) and model.features(images).shape == (3, SMALL.features)
    last = images.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(last), together)
    torch.testing.assert_close(torch.cat([model(image[None]) for image in images]), together, atol=1e-5, rtol=1e-4)


def test_every_pixel_reaches_the_answer():
    torch.manual_seed(0)
    image = torch.randn(1, 3, 45, 38, requires_grad=True)
    ImageBackbone(SMALL, 3).eval()(image).sum().backward()
    assert (image.grad != 0).all()


def test_drop_path_acts_in_training_only():
    torch.manual_seed(0)
    model, images = ImageBackbone(SMALL.model_copy(update={"drop_path": 0.9}), 3), torch.randn(4, 3, 32, 32)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


def test_start_of_the_weights_spares_the_scans_and_vectors_the_decay():
    torch.manual_seed(0)
    model = ImageBackbone(CONFIGS["nano"], 2)
    for name, parameter in model.named_parameters():
        spared = getattr(parameter, "_no_weight_decay", False)
        assert spared == (parameter.dim() == 1 or name.endswith("A_log")), name
        if name.endswith("dt_proj.bias"):
            step = torch.nn.functional.softplus(parameter)
            assert step.min() > 0.9e-3 and step.max() < 1.1e-1
    assert 0.015 < model.stages[2][0].mlp[0].weight.std() < 0.025


def test_an_unknown_size_suggests_the_nearest():
    with pytest.raises(ModelError, match="did you mean 'tiny'"):
        find_config("tiney")
