"""2DMamba (Zhang et al., CVPR 2025, arXiv 2412.00678) as a slide aggregator."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator
from torch import nn

from wsi2dmamba.models.parts.grid_aggregator import GridAggregator, GridOptions
from wsi2dmamba.models.parts.mamba2d_mixer import Mamba2DMixer, ScanOptions

PAPER: dict[str, Any] = {
    "dim": 128,
    "dropout": 0.25,
    "activation": "gelu",
    "layers": 1,
    "expand": 2,
    "state": 16,
    "dt_init": "zero",
    "conv": "1d",
    "conv_kernel": 4,
    "corners": 1,
    "gaps": "scan",
    "background": "learned",
    "pooling": "all",
    "attention_dim": 128,
    "gated": False,
    "init": "xavier",
}
"""What the published code does, where it differs from the defaults here and where it does not."""


class TwoDMamba(GridAggregator):
    """Blocks of the 2D selective scan over the patch grid, attention pooling over tissue, a linear head.

    The scan is equations 5 to 7 of the paper: horizontal, then vertical, with one a, and C applied at the end.

    Parameters
    ----------
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs that the task asks for.
    options
        See `TwoDMamba.Options`.
    """

    class Options(GridOptions, ScanOptions):
        """Options of 2DMamba: those of the raster and of the scan.

        For some tens of patients on grids of about 20 × 20, ``dim: 32`` with ``train.lr: 0.001`` (to 0.003) and 20
        epochs learns arrangement in seconds per fold; the default width is the paper's.

        Attributes
        ----------
        state
            States per scanned channel, N. The paper has 16; eight do as well on `benchmarks/spatial` (docs/models.md).
        preset
            "paper": every option that is not given takes its value from the published code (`PAPER`). Give
            `grid_shape` too, the largest slide of the data set, for the published padding.
        init
            Initial weights of linear layers: "torch" defaults, or "xavier" normal with zero biases, as published.
        """

        state: int = Field(8, ge=1, le=256)
        preset: Literal["paper"] | None = None
        init: Literal["torch", "xavier"] = "torch"

        @model_validator(mode="before")
        @classmethod
        def _fill_from_preset(cls, given: Any) -> Any:
            if isinstance(given, dict) and given.get("preset") == "paper":
                return {**PAPER, **given}
            return given

        @model_validator(mode="after")
        def _check_kernel(self) -> TwoDMamba.Options:
            if self.conv == "2d" and self.conv_kernel % 2 == 0:
                raise ValueError(f"conv_kernel must be odd with conv: 2d, not {self.conv_kernel}")
            return self

        @model_validator(mode="after")
        def _check_corners(self) -> TwoDMamba.Options:
            if self.corner_parameters == "separate" and self.corners == 1:
                raise ValueError("corner_parameters: separate needs corners: 4")
            return self

        @model_validator(mode="after")
        def _check_gaps(self) -> TwoDMamba.Options:
            if self.gaps == "skip" and (self.pooling == "all" or self.conv == "1d" or self.grid_shape is not None):
                raise ValueError("gaps: skip needs pooling: tissue, conv: 2d or none, and no grid_shape")
            return self

    def __init__(self, in_dim: int, out_dim: int, options: Options) -> None:
        self._scan_options = options
        super().__init__(in_dim, out_dim, options)
        if options.init == "xavier":
            _xavier(self)

    @property
    def skips_gaps(self) -> bool:
        """Whether only tissue is computed."""
        return self._scan_options.gaps == "skip"

    def make_mixer(self, index: int) -> nn.Module:
        """Return the 2D Mamba mixer of block `index`."""
        return Mamba2DMixer(self._scan_options.dim, self._scan_options)


def _xavier(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_normal_(module.weight)
            if module.bias is not None and module.bias.dim():
                nn.init.zeros_(module.bias)
