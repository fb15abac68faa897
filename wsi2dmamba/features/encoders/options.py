"""What the user asked for: one small picklable value that every worker process loads its encoder from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from wsi2dmamba.core.errors import EncoderError

Pooling = Literal["cls", "pooler", "mean", "cls+mean"]
POOLINGS: tuple[str, ...] = get_args(Pooling)


@dataclass(frozen=True)
class EncoderRequest:
    """Which encoder, and how.

    Attributes
    ----------
    spec
        ``texture``, a registry name, ``hf:<hub id or folder>[@revision]``, ``timm:<name>``, ``torchscript:FILE``,
        ``export:FILE``, ``2dvmamba:SIZE``, ``2dvmamba:FILE_OR_RUN`` or ``module:function``.
    weights
        Local file or folder to use instead of the hub's.
    offline
        Never ask the network; what is not on this machine is an error.
    pooling
        How tokens become one vector; None takes the encoder's own rule.
    patch_px, mpp
        Override what the encoder expects; None keeps it.
    """

    spec: str
    weights: str | None = None
    offline: bool = False
    pooling: str | None = None
    patch_px: int | None = None
    mpp: float | None = None

    def __post_init__(self) -> None:
        if not self.spec.strip():
            raise EncoderError("the encoder's name is empty; `wsi2dmamba encoders` lists what there is")
        if self.pooling is not None and self.pooling not in POOLINGS:
            raise EncoderError(f"unknown pooling {self.pooling!r}; choose from {', '.join(POOLINGS)}")
