"""Encoders by name: the published ones of `cards`, and those that installed packages offer."""

from __future__ import annotations

import difflib
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from wsi2dmamba.core.errors import EncoderError
from wsi2dmamba.features.encoders.cards import CARDS, EncoderCard
from wsi2dmamba.features.encoders.options import EncoderRequest

if TYPE_CHECKING:
    from wsi2dmamba.features.encoders.base import Encoder

ENTRY_POINT_GROUP = "wsi2dmamba.encoders"
"""A package offers an encoder by an entry point of this group whose object is a function as for `module:function`."""


def find_card(name: str) -> EncoderCard | None:
    """Return the card of a published encoder; case, ``_`` and ``-`` do not matter."""
    wanted = _plain(name)
    return next((card for card in CARDS if _plain(card.name) == wanted), None)


def offered_by_packages() -> dict[str, EntryPoint]:
    """Return what installed packages offer, by name."""
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def load_by_name(request: EncoderRequest) -> Encoder:
    """Load an encoder that is asked for by its name.

    Raises
    ------
    EncoderError, DependencyError
        If there is none of that name (close ones are named), or it cannot be loaded.
    """
    offered = offered_by_packages().get(request.spec)
    if offered is not None:
        from wsi2dmamba.features.encoders.custom import load_custom

        return load_custom(offered.value, request)
    card = find_card(request.spec)
    if card is None:
        known = [card.name for card in CARDS] + list(offered_by_packages())
        close = difflib.get_close_matches(request.spec.lower(), known, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise EncoderError(f"unknown encoder {request.spec!r}; {hint}`wsi2dmamba encoders` lists what there is")
    return load_card(card, request)


def load_card(card: EncoderCard, request: EncoderRequest) -> Encoder:
    """Load a published encoder with the library it needs."""
    if card.library == "texture":
        from wsi2dmamba.features.encoders.texture import TextureEncoder

        return TextureEncoder()
    if card.library == "timm":
        from wsi2dmamba.features.encoders.timm_model import load_timm_card

        return load_timm_card(card, request)
    if card.library == "torchvision":
        from wsi2dmamba.features.encoders.torchvision_model import load_resnet50

        return load_resnet50(card, request)
    if card.library == "conch":
        from wsi2dmamba.features.encoders.conch import load_conch

        return load_conch(card, request)
    from wsi2dmamba.features.encoders.transformers_model import load_transformers

    return load_transformers(card.source, request, card)


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
