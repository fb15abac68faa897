"""Encoders built by timm: the published pathology transformers, and `timm:<name>`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from wsi2dmamba.core.errors import DependencyError, EncoderError
from wsi2dmamba.features.encoders.base import Encoder, EncoderInfo, Normalisation
from wsi2dmamba.features.encoders.cards import EncoderCard
from wsi2dmamba.features.encoders.names import folder_name
from wsi2dmamba.features.encoders.options import EncoderRequest
from wsi2dmamba.features.encoders.pooling import pool_tokens
from wsi2dmamba.features.encoders.weights import load_strictly, local_or_hub_weights


class TimmEncoder(Encoder):
    """A frozen timm network without its head.

    Parameters
    ----------
    model
        Built with ``num_classes=0``.
    info, normalisation
        What it expects.
    pooling
        ``cls``, ``mean`` or ``cls+mean`` of its normalised tokens; ``head`` leaves it to the network.
    """

    def __init__(self, model: nn.Module, info: EncoderInfo, normalisation: Normalisation, pooling: str) -> None:
        super().__init__()
        self.model: Any = model.eval().requires_grad_(False)
        self.info = info
        self.normalisation = normalisation
        self.pooling = pooling

    def preprocess(self, patches: Tensor) -> Tensor:
        """Resize and normalise (N, H, W, 3) uint8 patches."""
        return self.normalisation(patches)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, dim) features of (N, 3, px, px) normalised patches."""
        if self.pooling == "head":
            return self.model(inputs)
        tokens = self.model.forward_features(inputs)
        if tokens.ndim == 4 and tokens.shape[-1] == self.info.dim:  # Swin keeps channels last
            tokens = tokens.permute(0, 3, 1, 2)
        return pool_tokens(tokens, self.pooling, int(getattr(self.model, "num_prefix_tokens", 0)))


class ConvStem(nn.Module):
    """CTransPath's patch embedding: two strided 3×3 convolutions and a 1×1 one in place of a 4×4 patch projection.

    Wang et al., *Transformer-based unsupervised contrastive learning for histopathological image classification*,
    Medical Image Analysis 2022. Takes (N, 3, H, W), returns (N, H/4, W/4, C), as timm's Swin wants it.
    """

    def __init__(
        self,
        img_size: int | tuple[int, int] = 224,
        patch_size: int = 4,
        in_chans: int = 3,
        embed_dim: int = 96,
        norm_layer: Any = None,
        **_: Any,
    ) -> None:
        super().__init__()
        side = img_size if isinstance(img_size, int) else img_size[0]
        self.img_size = (side, side)
        self.patch_size = (patch_size, patch_size)
        self.grid_size = (side // patch_size, side // patch_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        narrow, wide = embed_dim // 8, embed_dim // 4
        self.proj = nn.Sequential(
            nn.Conv2d(in_chans, narrow, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(narrow),
            nn.ReLU(inplace=True),
            nn.Conv2d(narrow, wide, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(inplace=True),
            nn.Conv2d(wide, embed_dim, 1),
        )
        self.norm = norm_layer(embed_dim) if norm_layer is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, H/4, W/4, C) embeddings."""
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


def load_timm_card(card: EncoderCard, request: EncoderRequest) -> TimmEncoder:
    """Build a published network and load its weights, every tensor of them.

    Raises
    ------
    DependencyError, EncoderError
        If timm is not installed, or the weights are not there or do not fit.
    """
    model = build_timm(card)
    path, revision = local_or_hub_weights(card.source, request.weights, request.offline)
    load_strictly(model, path, card.name)
    return timm_encoder(card, model, revision, request)


def build_timm(card: EncoderCard) -> nn.Module:
    """Return the network of a card with random weights."""
    timm = _timm()
    arguments = {key: _resolve(value) for key, value in card.arguments.items()}
    if card.architecture.startswith("vit_"):
        arguments["dynamic_img_size"] = True
    return timm.create_model(card.architecture, pretrained=False, num_classes=0, **arguments)


def timm_encoder(card: EncoderCard, model: nn.Module, revision: str, request: EncoderRequest) -> TimmEncoder:
    """Wrap a network as its card says, with the user's overrides."""
    if card.normalisation is None or card.patch_px is None:
        raise EncoderError(f"the card of {card.name} names no normalisation")
    pooling = request.pooling or card.pooling
    side = request.patch_px or card.patch_px
    width = int(getattr(model, "num_features", card.dim))
    info = EncoderInfo(
        name=card.name,
        dim=2 * width if pooling == "cls+mean" else width,
        mpp=request.mpp or card.mpp,
        patch_px=side,
        revision=revision,
    )
    resize_px = card.resize_px if request.patch_px is None else None
    return TimmEncoder(model, info, Normalisation(side, *card.normalisation, resize_px), pooling)


def load_timm(name: str, request: EncoderRequest) -> TimmEncoder:
    """Load any model that timm knows by name (``timm:resnet18.a1_in1k``, ``timm:hf-hub:owner/name``).

    Raises
    ------
    DependencyError, EncoderError
        If timm is not installed, or does not know or cannot load it.
    """
    timm = _timm()
    try:
        arguments: dict[str, Any] = {"pretrained": request.weights is None and not request.offline, "num_classes": 0}
        if request.offline and request.weights is None:
            raise EncoderError(f"timm:{name} offline needs --weights FILE")
        model = timm.create_model(name, **arguments)
    except (RuntimeError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise EncoderError(f"timm cannot make {name!r}: {reason}") from error
    revision = f"timm-{timm.__version__}"
    if request.weights is not None:
        path, revision = local_or_hub_weights(name, request.weights, True)
        load_strictly(model, path, name)
    config = timm.data.resolve_model_data_config(model)
    side = request.patch_px or int(config["input_size"][-1])
    info = EncoderInfo(folder_name(name), 0, request.mpp, side, revision)
    normalisation = Normalisation(side, tuple(config["mean"]), tuple(config["std"]))
    encoder = TimmEncoder(model, info, normalisation, request.pooling or "head")
    with torch.inference_mode():
        dim = int(encoder.forward(torch.zeros(1, 3, side, side)).shape[1])
    encoder.info = EncoderInfo(info.name, dim, info.mpp, side, revision)
    return encoder


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise DependencyError("this encoder needs timm; run: pip install 'wsi2dmamba[encoders]'") from error
    return timm


def _resolve(value: Any) -> Any:
    if value == "SwiGLUPacked":
        from timm.layers import SwiGLUPacked

        return SwiGLUPacked
    return {"SiLU": nn.SiLU, "ConvStem": ConvStem}.get(value, value) if isinstance(value, str) else value
