"""2DVMamba as an image model: a hierarchical backbone of 2D selective scans, for patches and any other image."""

from __future__ import annotations

from wsi2dmamba.models.vision.backbone import ImageBackbone
from wsi2dmamba.models.vision.checkpoint import Checkpoint, InputFormat, from_file, save
from wsi2dmamba.models.vision.config import CONFIGS, VisionConfig
from wsi2dmamba.models.vision.pyramid import FeaturePyramid

__all__ = [
    "CONFIGS",
    "Checkpoint",
    "FeaturePyramid",
    "ImageBackbone",
    "InputFormat",
    "VisionConfig",
    "from_file",
    "save",
]
