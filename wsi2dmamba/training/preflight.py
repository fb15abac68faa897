"""What can be known of the features before any training starts: they fit together, and every file is whole."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsi2dmamba.core.errors import StoreError
from wsi2dmamba.features.store import is_foreign, read_features
from wsi2dmamba.slides.tilefile import open_finished
from wsi2dmamba.training.config import FeatureSource

# Resolutions that differ by less are one: scanners round their micrometres per pixel.
_SAME_MPP = 0.01
# Tile settings that hold for any slide, unlike origin, regions drawn by hand, or a slide's own resolution.
_FOR_ANY_SLIDE = ("allow_upsampling", "min_tissue", "tissue")


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
        How the slides were tiled: micrometres per pixel (None where another tool's file does not say), patch side and
        overlap in pixels at that resolution.
    tiling
        How their tissue was found and which patches were kept: JSON of tile settings, for slides that are tiled
        later. Taken from the first file and not compared: patches of both ways go together.
    """

    dim: int
    encoder: str
    encoder_revision: str
    mpp: float | None
    patch_px: int
    overlap_px: int
    tiling: str = "{}"

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return dict(self.__dict__)

    def difference(self, other: FeatureDescription) -> str:
        """Return in words how these features differ from `other`, or nothing."""
        pairs = [(name, mine, getattr(other, name)) for name, mine in self.__dict__.items() if name != "tiling"]
        return ", ".join(
            f"{name} {mine} instead of {theirs}" for name, mine, theirs in pairs if not _same(mine, theirs)
        )


def describe_features(paths: Mapping[str, Path], source: FeatureSource) -> FeatureDescription:
    """Check that all feature files can be opened and belong together.

    Parameters
    ----------
    paths
        Slide id → feature file.
    source
        How to read files of other tools.

    Raises
    ------
    StoreError
        If a file is missing, cut short or unfinished, or two files differ in encoder, dimension or resolution.
    """
    first: tuple[Path, FeatureDescription] | None = None
    for path in paths.values():
        found = _describe(path, source)
        if first is None:
            first = (path, found)
        elif difference := found.difference(first[1]):
            raise StoreError(
                f"{path} does not go with {first[0].name}: {difference}; "
                "a run needs features of one encoder at one resolution, one folder each"
            )
    assert first is not None, "a matched cohort has at least one slide"
    return first[1]


def _describe(path: Path, source: FeatureSource) -> FeatureDescription:
    if is_foreign(path):
        file = read_features(path, source.on_collision, source.encoder)
        geometry = file.tiles.geometry
        return FeatureDescription(
            dim=file.features.shape[1],
            encoder=file.encoder,
            encoder_revision=file.encoder_revision,
            mpp=None if math.isnan(geometry.mpp) else round(geometry.mpp, 6),
            patch_px=geometry.patch_px,
            overlap_px=geometry.overlap_px,
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
            tiling=_tiling(str(file.attrs.get("settings", "{}"))),
        )


def _tiling(settings: str) -> str:
    known = json.loads(settings)
    return json.dumps({name: known[name] for name in _FOR_ANY_SLIDE if name in known}, sort_keys=True)


def _same(mine: Any, theirs: Any) -> bool:
    if isinstance(mine, float) and isinstance(theirs, float):
        return math.isclose(mine, theirs, rel_tol=_SAME_MPP)
    return bool(mine == theirs)
