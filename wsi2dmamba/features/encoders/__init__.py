"""Patch encoders behind one interface: the embedded `texture`, published ones by name, programs, your own.

Importing this package imports torch only when one of the names below is used, so that the table of encoders can be
printed at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wsi2dmamba.features.encoders.options import EncoderRequest

if TYPE_CHECKING:
    from wsi2dmamba.features.encoders.base import Encoder, EncoderInfo, Normalisation
    from wsi2dmamba.features.encoders.loading import load_encoder

__all__ = ["Encoder", "EncoderInfo", "EncoderRequest", "Normalisation", "load_encoder"]


def __getattr__(name: str) -> Any:
    if name in ("Encoder", "EncoderInfo", "Normalisation"):
        from wsi2dmamba.features.encoders import base

        return getattr(base, name)
    if name == "load_encoder":
        from wsi2dmamba.features.encoders.loading import load_encoder

        return load_encoder
    raise AttributeError(name)
