"""Sizes of the backbone, by name.

`tiny` is the configuration of the published 2DVMamba-T: VMamba-T[s1l8], called vssm1_tiny_0230s by VMamba's authors,
with its 1D scans replaced by 2D ones (configs/vssm_2d*/vmambav2v_2d_tiny_224.yaml of the authors' code). `small` is
the one of their upernet_vssm_2d_…_small.py, VMamba-S[s2l15]; no result of it is published. `micro` and `nano` are our
own, for processors and small data.
"""

from __future__ import annotations

import difflib
import math

from pydantic import Field

from wsi2dmamba.core.errors import ModelError
from wsi2dmamba.core.validation import Settings


class VisionConfig(Settings):
    """What fixes the weights' shapes, and the stochastic depth in training.

    Attributes
    ----------
    depths
        Blocks in each of the four stages.
    dim
        Channels of the first stage; every further one has twice as many.
    ssm_ratio
        Scanned channels per channel.
    state
        States per scanned channel, N.
    mlp_ratio
        Hidden width of the feed-forward network per channel.
    drop_path
        Probability of skipping the last block in training; it rises linearly from zero at the first.
    """

    depths: tuple[int, int, int, int] = (2, 2, 8, 2)
    dim: int = Field(96, ge=2, multiple_of=2)
    ssm_ratio: float = Field(1.0, gt=0, le=8)
    state: int = Field(1, ge=1, le=256)
    mlp_ratio: float = Field(4.0, gt=0, le=16)
    drop_path: float = Field(0.2, ge=0, lt=1)

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of every stage."""
        return tuple(self.dim << stage for stage in range(len(self.depths)))

    @property
    def features(self) -> int:
        """Numbers that a pooled image becomes."""
        return self.widths[-1]

    def inner(self, width: int) -> int:
        """Return the scanned channels of a block of `width` channels."""
        return int(self.ssm_ratio * width)

    def dt_rank(self, width: int) -> int:
        """Return the rank of the map from a token to its step sizes Δ."""
        return math.ceil(width / 16)


CONFIGS: dict[str, VisionConfig] = {
    "tiny": VisionConfig(),
    "small": VisionConfig(depths=(2, 2, 15, 2), ssm_ratio=2.0, drop_path=0.3),
    "micro": VisionConfig(depths=(1, 1, 4, 1), dim=48, drop_path=0.1),
    "nano": VisionConfig(depths=(1, 1, 2, 1), dim=24, drop_path=0.0),
}
"""The named sizes; parameters and operations are in docs/models.md."""


def find_config(name: str) -> VisionConfig:
    """Return a size by name.

    Raises
    ------
    ModelError
        If there is none of that name.
    """
    if name in CONFIGS:
        return CONFIGS[name]
    close = difflib.get_close_matches(name, CONFIGS, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise ModelError(f"unknown size {name!r} of 2dvmamba; {hint}there are {', '.join(CONFIGS)}")
