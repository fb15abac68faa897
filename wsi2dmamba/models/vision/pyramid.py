"""The backbone as a segmentation or detection head wants it: four normalised maps."""

from __future__ import annotations

from torch import Tensor, nn

from wsi2dmamba.models.vision.backbone import ImageBackbone


class FeaturePyramid(nn.Module):
    """The four maps of a backbone, each with a LayerNorm of its own, as VMamba's segmentation backbone gives them.

    Parameters
    ----------
    backbone
        Trained or not; its head, if any, is not used.
    """

    def __init__(self, backbone: ImageBackbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in backbone.config.widths)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return (batch, C, h, w) maps of strides 4, 8, 16 and 32, channels-last in memory."""
        maps = self.backbone.feature_maps(images)
        return [norm(m.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for norm, m in zip(self.norms, maps, strict=True)]
