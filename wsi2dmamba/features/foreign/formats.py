"""How the files of each tool are recognised, and what each one says about its patches."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.core.errors import StoreError
from wsi2dmamba.features.foreign.contents import Attributes, read_attributes, read_others
from wsi2dmamba.slides.tilefile import SCHEMA

FORMATS = ("wsi2dmamba", "clam", "trident", "stamp", "atlaspatch")

OURS_GROUP = "wsi2dmamba"
"""Group of another tool's file that remembers ours; other tools pass over it."""


@dataclass(frozen=True)
class RawTable:
    """A file of another tool as it stands.

    Attributes
    ----------
    format
        One of `FORMATS`.
    coords
        The dataset unchanged: (N, 2), or (N, 5) for AtlasPatch.
    features
        (N, D), or None in a coordinates file.
    feature_path
        Where the features stood, e.g. ``features/uni``.
    attributes
        Every attribute of every object.
    others
        Every other dataset, by path: features of further encoders, AtlasPatch's passports.
    """

    format: str
    coords: NDArray[Any]
    features: NDArray[np.floating] | None
    feature_path: str
    attributes: Attributes
    others: dict[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What a file says about its patches; NaN or None where it says nothing.

    Attributes
    ----------
    xy_level0
        (N, 2) float64 corners, level-0 pixels.
    patch_px, patch_size_level0, step_level0
        Patch side as the encoder saw it and in level-0 pixels; distance of neighbours.
    slide_mpp, mpp
        µm per pixel of level 0 and of the patches.
    """

    xy_level0: NDArray[np.float64]
    patch_px: int | None = None
    patch_size_level0: float | None = None
    step_level0: int | None = None
    overlap_px: int = 0
    slide_mpp: float = math.nan
    mpp: float = math.nan
    level0_size: tuple[int, int] | None = None
    encoder: str = "unknown"
    extra: dict[str, Any] = field(default_factory=dict)


def detect_format(file: h5py.File) -> str | None:
    """Return which tool wrote an open file, or None."""
    if file.attrs.get("schema") == SCHEMA:
        return "wsi2dmamba"
    coords = file.get("coords")
    if not isinstance(coords, h5py.Dataset) or coords.ndim != 2:
        return None
    if coords.shape[1] == 5:
        return "atlaspatch"
    if coords.shape[1] != 2:
        return None
    if "level0_magnification" in coords.attrs:
        return "trident"
    if "feats" in file or "extractor" in file.attrs or "unit" in file.attrs:
        return "stamp"
    if "features" in file or "patch_level" in coords.attrs:
        return "clam"
    return None


def read_raw(path: Path, encoder: str | None = None) -> RawTable:
    """Read a file of another tool whole.

    Parameters
    ----------
    path
        The file.
    encoder
        Which features, for AtlasPatch files that hold several.

    Raises
    ------
    StoreError
        If it is unreadable, of no known tool, or inconsistent.
    """
    try:
        with h5py.File(path, "r") as file:
            kind = detect_format(file)
            if kind is None:
                raise StoreError(f"{path} is of no tool known here ({', '.join(FORMATS)})")
            feature_path = _feature_path(file, kind, path, encoder)
            coords = file["coords"][:]
            features = file[feature_path][:] if feature_path in file else None
            attributes = read_attributes(file)
            others = {} if OURS_GROUP in file else read_others(file, {"coords", feature_path})
    except OSError as error:
        raise StoreError(f"{path} is not a whole HDF5 file (cut short or damaged)") from error
    if features is not None and (features.ndim != 2 or len(features) != len(coords)):
        raise StoreError(f"{path}: features of shape {features.shape} for {len(coords)} patches")
    return RawTable(kind, coords, features, feature_path, attributes, others)


def facts_of(raw: RawTable, slide_mpp: float | None = None) -> Facts:
    """Return what a file says about its patches, in level-0 pixels.

    Parameters
    ----------
    raw
        The file.
    slide_mpp
        µm per level-0 pixel, for tools that do not store it.
    """
    readers = {"clam": _clam, "trident": _trident, "stamp": _stamp, "atlaspatch": _atlaspatch}
    return readers[raw.format](raw, slide_mpp)


def _clam(raw: RawTable, slide_mpp: float | None) -> Facts:
    attributes = raw.attributes.get("coords", {})
    size = level0 = None
    if "patch_size" in attributes:
        downsample = np.asarray(attributes.get("downsample", (1.0, 1.0)), dtype=np.float64)
        size = float(attributes["patch_size"]) * float(downsample[0])
        if "level_dim" in attributes:
            width, height = (int(value) for value in np.rint(np.asarray(attributes["level_dim"]) * downsample))
            level0 = (width, height)
    mpp = math.nan
    if slide_mpp is not None and size is not None:
        mpp = slide_mpp * size / float(attributes["patch_size"])
    return Facts(
        xy_level0=raw.coords.astype(np.float64),
        patch_px=int(attributes["patch_size"]) if "patch_size" in attributes else None,
        patch_size_level0=size,
        slide_mpp=math.nan if slide_mpp is None else slide_mpp,
        mpp=mpp,
        level0_size=level0,
    )


def _trident(raw: RawTable, slide_mpp: float | None) -> Facts:
    attributes = raw.attributes["coords"]
    encoder = raw.attributes.get("features", {}).get("encoder", "unknown")
    return _magnifications(raw, attributes, str(encoder), slide_mpp)


def _atlaspatch(raw: RawTable, slide_mpp: float | None) -> Facts:
    encoder = raw.feature_path.rpartition("/")[2] if raw.features is not None else "unknown"
    return _magnifications(raw, raw.attributes.get("", {}), encoder, slide_mpp)


def _magnifications(raw: RawTable, attributes: dict[str, Any], encoder: str, slide_mpp: float | None) -> Facts:
    native, target = attributes.get("level0_magnification"), attributes.get("target_magnification")
    own_mpp = 10.0 / float(native) if native else math.nan
    slide = own_mpp if slide_mpp is None else slide_mpp
    ratio = float(native) / float(target) if native and target else math.nan
    width, height = attributes.get("level0_width"), attributes.get("level0_height")
    return Facts(
        xy_level0=raw.coords[:, :2].astype(np.float64),
        patch_px=int(attributes["patch_size"]) if "patch_size" in attributes else None,
        patch_size_level0=float(attributes["patch_size_level0"]) if "patch_size_level0" in attributes else None,
        overlap_px=int(attributes.get("overlap", 0)),
        slide_mpp=slide,
        mpp=slide * ratio,
        level0_size=(int(width), int(height)) if width is not None and height is not None else None,
        encoder=encoder,
    )


def _stamp(raw: RawTable, slide_mpp: float | None) -> Facts:
    attributes = raw.attributes.get("", {})
    size_um, size_px = attributes.get("tile_size_um"), attributes.get("tile_size_px")
    tile_mpp = float(size_um) / float(size_px) if size_um and size_px else math.nan
    in_um = str(attributes.get("unit", "px")) == "um"
    # STAMP does not store the slide's resolution: without it, level 0 is taken to be the tiles' own resolution.
    level0_mpp = slide_mpp if slide_mpp is not None else tile_mpp
    if in_um and math.isnan(level0_mpp):
        raise StoreError("a STAMP file in micrometres without tile_size_um and tile_size_px; give --slide-mpp")
    scale = 1.0 / level0_mpp if in_um else 1.0
    size_level0 = float(size_um) / level0_mpp if size_um and not math.isnan(level0_mpp) else None
    return Facts(
        xy_level0=raw.coords.astype(np.float64) * scale,
        patch_px=int(size_px) if size_px else None,
        patch_size_level0=size_level0,
        step_level0=round(size_level0) if in_um and size_level0 else None,
        slide_mpp=level0_mpp,
        mpp=tile_mpp,
        encoder=str(attributes.get("extractor", "unknown")),
    )


def _feature_path(file: h5py.File, kind: str, path: Path, encoder: str | None) -> str:
    if kind == "stamp":
        return "feats" if "feats" in file else "features"
    if kind != "atlaspatch":
        return "features"
    group = file.get("features")
    names = sorted(group) if isinstance(group, h5py.Group) else []
    if encoder is None and len(names) > 1:
        raise StoreError(f"{path} holds features of {', '.join(names)}; say which with --encoder")
    if encoder is not None and names and encoder not in names:
        raise StoreError(f"{path} has no features of {encoder!r}, but of {', '.join(names)}")
    return f"features/{encoder or (names[0] if names else 'none')}"
