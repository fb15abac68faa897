"""From what the user typed to an encoder ready to run."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from wsi2dmamba.features.encoders.base import Encoder
from wsi2dmamba.features.encoders.options import EncoderRequest
from wsi2dmamba.features.encoders.registry import load_by_name

# Encoders that a later stage defines, by name as entry points are: a stage imports nothing of those after it.
_LATER_STAGES = {"2dvmamba": "wsi2dmamba.models.vision.encoder:load_vision_encoder"}


def load_encoder(request: EncoderRequest | str) -> Encoder:
    """Load an encoder on the CPU, in evaluation mode.

    Parameters
    ----------
    request
        A request, or just its `spec`.

    Raises
    ------
    EncoderError, DependencyError
        If there is no such encoder, or it cannot be loaded; the message says what to do.
    """
    if isinstance(request, str):
        request = EncoderRequest(request)
    encoder = _load(request).eval()
    encoder.requires_grad_(False)
    return encoder


def _load(request: EncoderRequest) -> Encoder:
    kind, _, rest = request.spec.partition(":")
    if not rest:
        return load_by_name(request)
    if kind == "hf":
        from wsi2dmamba.features.encoders.transformers_model import load_transformers

        return load_transformers(rest, request)
    if kind == "timm":
        from wsi2dmamba.features.encoders.timm_model import load_timm

        return load_timm(rest, request)
    if kind == "torchscript":
        from wsi2dmamba.features.encoders.programs import load_torchscript

        return load_torchscript(Path(rest), request)
    if kind == "export":
        from wsi2dmamba.features.encoders.programs import load_exported

        return load_exported(Path(rest), request)
    if kind in _LATER_STAGES:
        module, function = _LATER_STAGES[kind].split(":")
        encoder: Encoder = getattr(import_module(module), function)(rest, request)
        return encoder
    from wsi2dmamba.features.encoders.custom import load_custom

    return load_custom(request.spec, request)
