"""The hierarchical backbone: stem, four stages of blocks, a norm and a linear head."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from wsi2dmamba.models.parts.blocks import drop_path_rates
from wsi2dmamba.models.parts.selective import SelectiveParameters
from wsi2dmamba.models.vision.block import Block
from wsi2dmamba.models.vision.config import VisionConfig
from wsi2dmamba.models.vision.stem import HalvingConv, Stem


class ImageBackbone(nn.Module):
    """2DVMamba (Zhang et al., arXiv 2412.00678): VMamba (arXiv 2401.10166) with 2D selective scans.

    Tokens stay channels-last, (batch, rows, cols, channels), from the stem to the head. Images of any size go in.

    Parameters
    ----------
    config
        Its size, e.g. ``CONFIGS["tiny"]``.
    classes
        Outputs of the head; 0: no head.
    """

    def __init__(self, config: VisionConfig, classes: int = 0) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        rates = iter(drop_path_rates(config.drop_path, sum(config.depths)))
        self.stem = Stem(widths[0])
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(width, config, next(rates)) for _ in range(depth)))
            for width, depth in zip(widths, config.depths, strict=True)
        )
        self.downsamples = nn.ModuleList(HalvingConv(narrow, wide) for narrow, wide in pairwise(widths))
        self.norm = nn.LayerNorm(widths[-1])
        self.head = nn.Linear(widths[-1], classes) if classes else None
        _initialise(self)

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        """Return the output of every stage, for segmentation and detection.

        Parameters
        ----------
        images
            (batch, 3, height, width), normalised.

        Returns
        -------
        list[Tensor]
            Four (batch, C, ⌈height / s⌉, ⌈width / s⌉) maps of strides s = 4, 8, 16, 32 and C = `config.widths`,
            channels-last in memory. They are not normalised; `FeaturePyramid` does that.
        """
        maps = []
        raster = self.stem(images)
        for index, stage in enumerate(self.stages):
            raster = stage(self.downsamples[index - 1](raster) if index else raster)
            maps.append(raster.permute(0, 3, 1, 2))
        return maps

    def features(self, images: Tensor) -> Tensor:
        """Return the (batch, `config.features`) mean over the cells of the normalised last map."""
        last = self.feature_maps(images)[-1].permute(0, 2, 3, 1)
        pooled: Tensor = self.norm(last).mean(dim=(1, 2))
        return pooled

    def forward(self, images: Tensor) -> Tensor:
        """Return the (batch, classes) logits of normalised (batch, 3, height, width) images."""
        features = self.features(images)
        return features if self.head is None else self.head(features)


def _initialise(model: nn.Module) -> None:
    """Start linear layers as VMamba's code does, leave the scans' own start, and spare vectors the weight decay."""
    scans = [module for module in model.modules() if isinstance(module, SelectiveParameters)]
    own = {id(inner) for scan in scans for inner in scan.modules()}
    for module in model.modules():
        if isinstance(module, nn.Linear) and id(module) not in own:
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for parameter in model.parameters():
        if parameter.dim() <= 1:
            parameter._no_weight_decay = True  # type: ignore[attr-defined]
