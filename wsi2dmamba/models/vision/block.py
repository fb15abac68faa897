"""The block: a 2D selective scan from each corner, then a feed-forward network, each added to its input.

Zhang et al. (arXiv 2412.00678) put their 2D scan in the place of the four 1D scans of VMamba's VSS block (arXiv
2401.10166 from its second version on: no gate, a feed-forward network, no bias in the depthwise convolution; "v05_noz"
in the authors' configuration). Four scans with their own Δ, A, B, C and D are added, as in VMamba; that the authors'
four orientations are the four corners, rather than two corners and their transposes, could not be confirmed.
"""

from __future__ import annotations

from torch import Tensor, nn

from wsi2dmamba.models.parts.blocks import DropPath
from wsi2dmamba.models.parts.conv import DepthwiseConv2d
from wsi2dmamba.models.parts.ss2d import FourScans
from wsi2dmamba.models.vision.config import VisionConfig


class CornerMixer(nn.Module):
    """in_proj → depthwise 3 × 3 convolution → SiLU → sum of four 2D scans → LayerNorm → out_proj.

    Parameters
    ----------
    width
        Channels of the tokens.
    config
        Scanned channels, states and rank of Δ.
    """

    def __init__(self, width: int, config: VisionConfig) -> None:
        super().__init__()
        inner = config.inner(width)
        self.in_proj = nn.Linear(width, inner, bias=False)
        self.conv = DepthwiseConv2d(inner, 3, bias=False)
        self.scans = FourScans(inner, config.state, config.dt_rank(width), "mamba", "corners")
        self.norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, width, bias=False)

    def forward(self, raster: Tensor) -> Tensor:
        """Mix (batch, rows, cols, width)."""
        scanned = self.scans(nn.functional.silu(self.conv(self.in_proj(raster))))
        projected: Tensor = self.out_proj(self.norm(scanned))
        return projected


class Block(nn.Module):
    """x + mixer(norm(x)), then x + mlp(norm(x)), each branch with stochastic depth.

    Parameters
    ----------
    width
        Channels of the tokens.
    config
        See `CornerMixer`; `mlp_ratio`.
    drop_path
        Probability of skipping a branch in training.
    """

    def __init__(self, width: int, config: VisionConfig, drop_path: float) -> None:
        super().__init__()
        hidden = int(config.mlp_ratio * width)
        self.mixer_norm = nn.LayerNorm(width)
        self.mixer = CornerMixer(width, config)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.drop_path = DropPath(drop_path)

    def forward(self, raster: Tensor) -> Tensor:
        """Map (batch, rows, cols, width) to the same shape."""
        raster = raster + self.drop_path(self.mixer(self.mixer_norm(raster)))
        mixed: Tensor = raster + self.drop_path(self.mlp(self.mlp_norm(raster)))
        return mixed
