"""What can be known of the features before any training starts: they fit together, and every file is whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from wsi2dmamba.core.errors import StoreError
from wsi2dmamba.features.store import read_features
from wsi2dmamba.slides.tilefile import SCHEMA, open_finished


@dataclass(frozen=True)
class FeatureDescription:
    """What the features of a run have in common.

    Attributes
    ----------
    dim
        Features per patch.
    encoder, encoder_revision
        What made them.
    mpp, patch_px, overlap_px
        How the slides were tiled: micrometres per pixel, patch side and overlap in pixels at that resolution.
    """

    dim: int
    encoder: str
    encoder_revision: str
    mpp: float
    patch_px: int
    overlap_px: int

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return dict(self.__dict__)


def describe_features(paths: Mapping[str, Path]) -> FeatureDescription:
    """Check that all feature files can be opened and belong together.

    Parameters
    ----------
    paths
        Slide id → feature file.

    Raises
    ------
    StoreError
        If a file is missing, cut short or unfinished, or two files differ in encoder, dimension or resolution.
    """
    first: tuple[Path, FeatureDescription] | None = None
    for path in paths.values():
        found = _describe(path)
        if first is None:
            first = (path, found)
        elif found != first[1]:
            raise StoreError(
                f"{path} does not go with {first[0].name}: {_difference(found, first[1])}; "
                "a run needs features of one encoder at one resolution, one folder each"
            )
    assert first is not None, "a matched cohort has at least one slide"
    return first[1]


def _describe(path: Path) -> FeatureDescription:
    if not _is_our_schema(path):
        file = read_features(path)
        geometry = file.tiles.geometry
        return FeatureDescription(
            file.features.shape[1],
            file.encoder,
            file.encoder_revision,
            round(geometry.mpp, 6),
            geometry.patch_px,
            geometry.overlap_px,
        )
    with open_finished(path) as file:
        if "features" not in file:
            raise StoreError(f"{path} holds patches but no features; run `wsi2dmamba extract` on it")
        return FeatureDescription(
            dim=int(file["features"].shape[1]),
            encoder=str(file.attrs["encoder"]),
            encoder_revision=str(file.attrs["encoder_revision"]),
            mpp=round(float(file.attrs["mpp"]), 6),
            patch_px=int(file["coords"].attrs["patch_size"]),
            overlap_px=int(file["coords"].attrs["overlap"]),
        )


def _is_our_schema(path: Path) -> bool:
    if path.suffix == ".pt":
        return False
    try:
        with h5py.File(path, "r") as file:
            return bool(file.attrs.get("schema") == SCHEMA)
    except OSError:
        return True  # so that `open_finished` says what is wrong with it


def _difference(one: FeatureDescription, other: FeatureDescription) -> str:
    pairs = [(name, getattr(one, name), getattr(other, name)) for name in one.__dict__]
    return ", ".join(f"{name} {mine} instead of {theirs}" for name, mine, theirs in pairs if mine != theirs)
