"""Every encoder known by name: one table of facts.

The model cards could not be opened when this was written. Hub ids, dimensions, inputs, normalisation, pooling,
licences and gating were compared on 2026-11-21 with what tools that read the cards say: TRIDENT's encoder factory and
table (mahmoodlab/TRIDENT 0120b8b), slide2vec's registry, raw2features' table (which cites each card) and the authors'
repositories of Kaiko, Midnight, Lunit, Hibou and TransPath. What they do not settle is in docs/encoders.md.

This module loads nothing heavy: `wsi2dmamba encoders` prints the table at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Triple = tuple[float, float, float]
MppSource = Literal["stated", "magnification", "convention"]

_IMAGENET: tuple[Triple, Triple] = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF: tuple[Triple, Triple] = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_BIOPTIMUS: tuple[Triple, Triple] = ((0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517))
_HIBOU: tuple[Triple, Triple] = ((0.7068, 0.5755, 0.722), (0.195, 0.2316, 0.1816))
_LUNIT: tuple[Triple, Triple] = (
    (0.70322989, 0.53606487, 0.66096631),
    (0.21716536, 0.26081574, 0.20723464),
)


@dataclass(frozen=True)
class EncoderCard:
    """What is known of a published encoder.

    Attributes
    ----------
    name
        What ``--encoder`` takes, and the folder of its features.
    library
        What builds it: ``timm``, ``transformers``, ``dinov2-registers``, ``torchvision``, ``conch``, ``2dvmamba`` or
        ``texture``.
    source
        Hub id, or the name of the weights.
    dim
        Numbers per patch.
    mpp
        µm per pixel it was made for; None: trained on several, or on no slides at all.
    patch_px
        Side of its input, pixels.
    normalisation
        (mean, std) per channel on a scale of 0 to 1; None: its package tells.
    pooling
        How tokens become one vector: see `pooling.pool_tokens`.
    licence, gated
        Licence of the weights, and whether its authors must grant access first.
    architecture, arguments
        For timm: the network's name and constructor arguments.
    resize_px
        Where its authors resize to this side and then cut `patch_px` out of the centre.
    mpp_source
        ``stated`` by its authors in µm per pixel, as a ``magnification`` only (20x taken for 0.5), or a mere
        ``convention`` among its users.
    """

    name: str
    library: str
    source: str
    dim: int
    mpp: float | None
    patch_px: int | None
    normalisation: tuple[Triple, Triple] | None
    pooling: str
    licence: str
    gated: bool
    architecture: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)
    resize_px: int | None = None
    mpp_source: MppSource = "stated"


_SWIGLU: dict[str, Any] = {"mlp_layer": "SwiGLUPacked", "act_layer": "SiLU"}
_VIRCHOW: dict[str, Any] = {"img_size": 224, "init_values": 1e-5, "mlp_ratio": 5.3375, **_SWIGLU}
_OPTIMUS: dict[str, Any] = {"img_size": 224, "init_values": 1e-5}
_UNI2: dict[str, Any] = {
    "img_size": 224,
    "patch_size": 14,
    "depth": 24,
    "num_heads": 24,
    "init_values": 1e-5,
    "embed_dim": 1536,
    "mlp_ratio": 2.66667 * 2,
    "no_embed_class": True,
    "reg_tokens": 8,
    **_SWIGLU,
}
_GIGAPATH: dict[str, Any] = {
    "img_size": 224,
    "patch_size": 16,
    "embed_dim": 1536,
    "depth": 40,
    "num_heads": 24,
    "mlp_ratio": 5.33334,
}


def _kaiko(name: str, architecture: str, dim: int, img_size: int = 224) -> EncoderCard:
    return EncoderCard(
        name=name,
        library="timm",
        source=f"1aurent/{architecture}.kaiko_ai_towards_large_pathology_fms",
        dim=dim,
        mpp=None,
        patch_px=224,
        normalisation=_HALF,
        pooling="cls",
        licence="kaiko non-commercial",
        gated=False,
        architecture=architecture,
        arguments={"img_size": img_size},
    )


def _lunit(name: str, architecture: str) -> EncoderCard:
    source = f"1aurent/{architecture}.lunit_dino"
    licence = "lunit non-commercial"
    return EncoderCard(name, "timm", source, 384, 0.5, 224, _LUNIT, "cls", licence, False, architecture)


def _hibou(name: str, source: str, dim: int) -> EncoderCard:
    return EncoderCard(
        name, "dinov2-registers", source, dim, 0.5, 224, _HIBOU, "cls", "Apache-2.0", True, mpp_source="convention"
    )


def _dinov2(name: str, source: str, dim: int) -> EncoderCard:
    return EncoderCard(name, "transformers", source, dim, None, 224, _IMAGENET, "cls", "Apache-2.0", False)


def _two_d_vmamba(size: str, dim: int) -> EncoderCard:
    name, source, licence = f"2dvmamba:{size}", "--weights FILE", "of the weights"
    return EncoderCard(name, "2dvmamba", source, dim, None, 224, _IMAGENET, "mean", licence, False)


_NC_ND = "CC-BY-NC-ND-4.0"
_OWKIN = "Owkin non-commercial"

CARDS: tuple[EncoderCard, ...] = (
    EncoderCard("texture", "texture", "embedded", 215, 0.5, None, None, "none", "Apache-2.0", False),
    EncoderCard(
        "uni", "timm", "MahmoodLab/UNI", 1024, 0.5, 224, _IMAGENET, "cls", _NC_ND, True,
        "vit_large_patch16_224", {"img_size": 224, "init_values": 1e-5}, mpp_source="magnification",
    ),
    EncoderCard(
        "uni2-h", "timm", "MahmoodLab/UNI2-h", 1536, 0.5, 224, _IMAGENET, "cls", _NC_ND, True,
        "vit_giant_patch14_224", _UNI2, mpp_source="convention",
    ),
    EncoderCard(
        "conch", "conch", "MahmoodLab/CONCH", 512, 0.5, 448, None, "package", _NC_ND, True, mpp_source="convention"
    ),
    EncoderCard(
        "conch-v1.5", "conch", "MahmoodLab/conchv1_5", 768, 0.5, 448, None, "package", _NC_ND, True,
        mpp_source="magnification",
    ),
    EncoderCard(
        "virchow", "timm", "paige-ai/Virchow", 2560, 0.5, 224, _IMAGENET, "cls+mean", "Apache-2.0", True,
        "vit_huge_patch14_224", _VIRCHOW,
    ),
    EncoderCard(
        "virchow2", "timm", "paige-ai/Virchow2", 2560, None, 224, _IMAGENET, "cls+mean", _NC_ND, True,
        "vit_huge_patch14_224", {**_VIRCHOW, "reg_tokens": 4},
    ),
    EncoderCard(
        "gigapath", "timm", "prov-gigapath/prov-gigapath", 1536, 0.5, 224, _IMAGENET, "cls", "Apache-2.0", True,
        "vit_giant_patch14_dinov2", _GIGAPATH, resize_px=256,
    ),
    EncoderCard(
        "h-optimus-0", "timm", "bioptimus/H-optimus-0", 1536, 0.5, 224, _BIOPTIMUS, "cls", "Apache-2.0", True,
        "vit_giant_patch14_reg4_dinov2", _OPTIMUS,
    ),
    EncoderCard(
        "h-optimus-1", "timm", "bioptimus/H-optimus-1", 1536, 0.5, 224, _BIOPTIMUS, "cls", _NC_ND, True,
        "vit_giant_patch14_reg4_dinov2", _OPTIMUS,
    ),
    EncoderCard("phikon", "transformers", "owkin/phikon", 768, 0.5, 224, _IMAGENET, "cls", _OWKIN, False),
    EncoderCard("phikon-v2", "transformers", "owkin/phikon-v2", 1024, 0.5, 224, _IMAGENET, "cls", _OWKIN, False),
    _hibou("hibou-b", "histai/hibou-b", 768),
    _hibou("hibou-l", "histai/hibou-L", 1024),
    EncoderCard("midnight-12k", "transformers", "kaiko-ai/midnight", 3072, None, 224, _HALF, "cls+mean", "MIT", False),
    _kaiko("kaiko-vits8", "vit_small_patch8_224", 384),
    _kaiko("kaiko-vits16", "vit_small_patch16_224", 384),
    _kaiko("kaiko-vitb8", "vit_base_patch8_224", 768),
    _kaiko("kaiko-vitb16", "vit_base_patch16_224", 768),
    _kaiko("kaiko-vitl14", "vit_large_patch14_reg4_dinov2", 1024, img_size=518),
    _lunit("lunit-dino-s16", "vit_small_patch16_224"),
    _lunit("lunit-dino-s8", "vit_small_patch8_224"),
    EncoderCard(
        "ctranspath", "timm", "1aurent/swin_tiny_patch4_window7_224.CTransPath", 768, 1.0, 224, _IMAGENET, "mean",
        "GPL-3.0", False, "swin_tiny_patch4_window7_224", {"embed_layer": "ConvStem"},
        mpp_source="magnification",
    ),
    _dinov2("dinov2-s", "facebook/dinov2-small", 384),
    _dinov2("dinov2-b", "facebook/dinov2-base", 768),
    _dinov2("dinov2-l", "facebook/dinov2-large", 1024),
    _dinov2("dinov2-g", "facebook/dinov2-giant", 1536),
    EncoderCard(
        "resnet50", "torchvision", "IMAGENET1K_V1", 2048, None, 224, _IMAGENET, "mean", "BSD-3-Clause", False, "layer4"
    ),
    EncoderCard(
        "resnet50-layer3", "torchvision", "IMAGENET1K_V1", 1024, None, 224, _IMAGENET, "mean", "BSD-3-Clause", False,
        "layer3",
    ),
    _two_d_vmamba("tiny", 768),
    _two_d_vmamba("small", 768),
    _two_d_vmamba("micro", 384),
    _two_d_vmamba("nano", 192),
)  # fmt: skip


def card_table() -> str:
    """Return the whole table as text, one encoder per line."""
    header = ("name", "library", "source", "dim", "µm/px", "from", "px", "mean", "pooling", "licence", "access")
    rows = [header]
    for card in CARDS:
        mean = "-" if card.normalisation is None else "/".join(f"{value:.3g}" for value in card.normalisation[0])
        rows.append(
            (
                card.name,
                card.library,
                card.source,
                str(card.dim),
                "any" if card.mpp is None else f"{card.mpp:g}",
                "-" if card.mpp is None else card.mpp_source,
                "any" if card.patch_px is None else str(card.patch_px),
                mean,
                card.pooling,
                card.licence,
                "gated" if card.gated else "open",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
