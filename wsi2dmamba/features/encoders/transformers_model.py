"""`hf:<hub id or folder>`: any vision model of the transformers library, loaded only when asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsi2dmamba.core.errors import DependencyError, EncoderError
from wsi2dmamba.features.encoders.base import IMAGENET_MEAN, IMAGENET_STD, Encoder, EncoderInfo, Normalisation
from wsi2dmamba.features.encoders.cards import EncoderCard
from wsi2dmamba.features.encoders.fingerprint import file_revision
from wsi2dmamba.features.encoders.names import folder_name
from wsi2dmamba.features.encoders.options import EncoderRequest
from wsi2dmamba.features.encoders.pooling import pool_tokens


class TransformersEncoder(Encoder):
    """A frozen transformers vision backbone with its processor's size, mean and standard deviation.

    Parameters
    ----------
    model
        A loaded `PreTrainedModel` whose forward takes `pixel_values`.
    info
        Name, expected input and revision; `dim` is measured here.
    normalisation
        The processor's.
    pooling
        ``cls``, ``pooler``, ``mean``, ``cls+mean``, or None: the model's pooler for maps, else the class token.
    """

    def __init__(self, model: nn.Module, info: EncoderInfo, normalisation: Normalisation, pooling: str | None) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.normalisation = normalisation
        self.pooling = pooling
        side = normalisation.patch_px
        with torch.inference_mode():
            dim = int(self.forward(torch.zeros(1, 3, side, side)).shape[1])
        self.info = replace(info, dim=dim)

    def preprocess(self, patches: Tensor) -> Tensor:
        """Resize and normalise (N, H, W, 3) uint8 patches as the model's own processor does."""
        return self.normalisation(patches)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, dim) features of (N, 3, px, px) normalised patches."""
        output = self.model(pixel_values=inputs)
        pooled = getattr(output, "pooler_output", None)
        tokens = output.last_hidden_state
        if self.pooling == "pooler" or (self.pooling is None and tokens.ndim == 4):
            if pooled is None:
                raise EncoderError(f"{type(self.model).__name__} has no pooler output; use --pooling cls or mean")
            return pooled.flatten(1)
        return pool_tokens(tokens, self.pooling or "cls", _prefix_tokens(self.model))


def load_transformers(source: str, request: EncoderRequest, card: EncoderCard | None = None) -> TransformersEncoder:
    """Load a model by hub id or from a local folder.

    Parameters
    ----------
    source
        ``owner/name``, ``owner/name@revision`` or a folder with ``config.json`` and ``*.safetensors``.
    request
        Offline mode, local weights, pooling and overrides.
    card
        What is known of a published encoder; its facts go before the processor's.

    Raises
    ------
    DependencyError
        If transformers is not installed.
    EncoderError
        If the model is not found, gated, not in safetensors, or is no vision model. Code of the hub is never run.
    """
    try:
        import transformers
    except ImportError as error:
        raise DependencyError("hf: encoders need transformers; run: pip install 'wsi2dmamba[encoders]'") from error
    local = Path(request.weights or source)
    location, _, revision = (str(local), "", "") if local.is_dir() else source.partition("@")
    arguments: dict[str, Any] = {"local_files_only": request.offline or local.is_dir(), "trust_remote_code": False}
    if revision:
        arguments["revision"] = revision
    with _plain_errors(location, request.offline), _quiet(transformers):
        if card is not None and card.library == "dinov2-registers":
            model = _dinov2_with_registers(location, arguments)
        else:
            model = transformers.AutoModel.from_pretrained(location, use_safetensors=True, **arguments)
        processor = _card_settings(card) if card else _processor_settings(location, arguments)
    model = getattr(model, "vision_model", model)
    side = request.patch_px or _side_px(processor, model)
    info = EncoderInfo(
        name=card.name if card else folder_name(location),
        dim=0,
        mpp=request.mpp or (card.mpp if card else None),
        patch_px=side,
        revision=_revision(model, local),
    )
    mean, std = processor.get("image_mean") or IMAGENET_MEAN, processor.get("image_std") or IMAGENET_STD
    pooling = request.pooling or (card.pooling if card else None)
    return TransformersEncoder(model, info, Normalisation(side, tuple(mean), tuple(std)), pooling)


def _dinov2_with_registers(location: str, arguments: dict[str, Any]) -> nn.Module:
    """Hibou ships DINOv2 with registers as code of its own; transformers has that network, so none of it is run."""
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel, PretrainedConfig

    settings, _ = PretrainedConfig.get_config_dict(location, **arguments)
    kept = {key: value for key, value in settings.items() if key not in ("auto_map", "architectures", "model_type")}
    config = Dinov2WithRegistersConfig(**kept)
    loaded: Any = Dinov2WithRegistersModel.from_pretrained(
        location, config=config, use_safetensors=True, output_loading_info=True, **arguments
    )
    model, report = loaded
    if report["missing_keys"] or report["mismatched_keys"]:
        raise EncoderError(f"the weights of {location} do not fit DINOv2 with registers; export it and use export:FILE")
    return model


def _card_settings(card: EncoderCard) -> dict[str, Any]:
    mean, std = card.normalisation or (None, None)
    return {"size": card.patch_px, "image_mean": mean, "image_std": std}


def _processor_settings(location: str, arguments: dict[str, Any]) -> dict[str, Any]:
    folder = Path(location)
    if folder.is_dir():
        file = folder / "preprocessor_config.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    from transformers.image_processing_base import ImageProcessingMixin

    settings, _ = ImageProcessingMixin.get_image_processor_dict(location, **arguments)
    return settings


def _side_px(processor: dict[str, Any], model: nn.Module) -> int:
    for key in ("crop_size", "size"):
        size = processor.get(key)
        if isinstance(size, int):
            return size
        if isinstance(size, dict):
            side = size.get("height") or size.get("shortest_edge")
            if side:
                return int(side)
    configured = getattr(model.config, "image_size", 224)
    return int(configured[0] if isinstance(configured, list | tuple) else configured)


def _prefix_tokens(model: nn.Module) -> int:
    config = model.config
    registers = int(getattr(config, "num_register_tokens", 0) or 0)
    return registers + (2 if "deit" in str(getattr(config, "model_type", "")) else 1)


def _revision(model: nn.Module, local: Path) -> str:
    commit = getattr(model.config, "_commit_hash", None)
    if commit and not local.is_dir():
        return str(commit)
    return file_revision(local / "config.json", *sorted(local.glob("*.safetensors")))


@contextmanager
def _plain_errors(location: str, offline: bool) -> Iterator[None]:
    """Turn the many errors of the hub client into one line that says what to do."""
    try:
        yield
    except (OSError, ValueError) as error:  # what transformers raises for all of: absent, gated, no network, pickle
        text = " ".join(str(error).split())
        if "gated" in text or "401" in text or "403" in text:
            advice = "it is gated: accept its licence on huggingface.co, then log in with `hf auth login`"
        elif offline or "offline" in text or "connect" in text.lower():
            advice = "it is not on this machine and the hub cannot be reached; download it first or give --weights"
        elif "safetensors" in text:
            advice = "it has no safetensors weights, and pickled weights are never loaded"
        elif "trust_remote_code" in text or "custom code" in text:
            advice = "it needs code from the hub, which is never run; export it and use export:FILE"
        else:
            advice = text[:200]
        raise EncoderError(f"cannot load hf:{location}: {advice}") from error


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(verbosity)
