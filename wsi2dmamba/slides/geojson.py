"""Regions as GeoJSON, in level-0 pixels: QuPath's exports in, tissue that QuPath opens out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.core.errors import InputError, SlideError
from wsi2dmamba.core.files import write_text

_SUFFIXES = (".geojson", ".json")
# Contours keep within this many mask pixels of the mask's edge.
_SIMPLIFY_PX = 0.6
# Fractional bits of OpenCV's fixed-point coordinates.
_SHIFT = 4


@dataclass(frozen=True)
class Region:
    """A polygon with holes.

    Attributes
    ----------
    rings
        (k, 2) arrays of (x, y), level-0 pixels: the outline, then the holes.
    """

    rings: tuple[NDArray[np.float64], ...]


def region_file(path: Path, slide_id: str) -> Path:
    """Return the file of a slide's regions: `path` itself, or the slide's own file in that folder.

    Raises
    ------
    SlideError
        If the folder has none for this slide.
    """
    if not path.is_dir():
        return path
    for suffix in _SUFFIXES:
        if (path / f"{slide_id}{suffix}").is_file():
            return path / f"{slide_id}{suffix}"
    raise SlideError(f"no regions for {slide_id}: {path / slide_id}.geojson does not exist")


def file_digest(path: Path | None, slide_id: str) -> str | None:
    """Return what identifies a slide's regions, so that changed ones are noticed; None if there are none."""
    if path is None:
        return None
    try:
        return hashlib.sha256(region_file(path, slide_id).read_bytes()).hexdigest()[:16]
    except (SlideError, OSError):
        return "missing"


def read_regions(path: Path) -> list[Region]:
    """Read the areas of a GeoJSON file: a FeatureCollection, a list of features, a feature or a bare geometry.

    Points and lines have no area and are passed over. A coordinate reference system is ignored: pixels have none.

    Raises
    ------
    InputError
        If the file cannot be read, is no GeoJSON, or holds no area.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is no GeoJSON: {error}") from error
    try:
        regions = [region for geometry in _geometries(content) for region in _regions_of(geometry)]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} is no GeoJSON that can be understood: {error}") from error
    if not regions:
        raise InputError(f"{path} holds no polygon; export areas, not points or lines")
    return regions


def rasterised(regions: list[Region], shape: tuple[int, int], downsample: float) -> NDArray[np.bool_]:
    """Return the (h, w) bool mask of what lies in any region.

    Parameters
    ----------
    regions
        In level-0 pixels.
    shape
        (h, w) of the mask.
    downsample
        Level-0 pixels per mask pixel.
    """
    mask = np.zeros(shape, dtype=np.uint8)
    for region in regions:
        one = np.zeros(shape, dtype=np.uint8) if len(region.rings) > 1 else mask
        for index, ring in enumerate(region.rings):
            # A pixel's centre is at +0.5; OpenCV means centres by whole numbers.
            scaled = np.clip(ring / downsample - 0.5, -(2**20), 2**20)
            points = np.round(scaled * (1 << _SHIFT)).astype(np.int32)
            cv2.fillPoly(one, [points], 0 if index else 1, lineType=cv2.LINE_8, shift=_SHIFT)
        if one is not mask:
            mask |= one
    return mask.astype(bool)


def regions_of_mask(mask: NDArray[np.bool_], downsample: float) -> list[Region]:
    """Return the outlines of a mask, holes included, in level-0 pixels."""
    # Contours run through pixel centres; at twice the size they keep a quarter of a pixel to the true edge.
    doubled = cv2.resize(mask.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if hierarchy is None:
        return []
    rings = [cv2.approxPolyDP(contour, 2 * _SIMPLIFY_PX, True).reshape(-1, 2) for contour in contours]
    scaled = [(ring.astype(np.float64) + 0.5) / 2 * downsample for ring in rings]
    regions = []
    for index, (_, _, _, parent) in enumerate(hierarchy[0]):
        if parent >= 0 or len(scaled[index]) < 3:
            continue
        holes = [
            scaled[other] for other in range(len(scaled)) if hierarchy[0][other][3] == index and len(scaled[other]) >= 3
        ]
        regions.append(Region((scaled[index], *holes)))
    return regions


def write_regions(path: Path, regions: list[Region], name: str = "Tissue") -> None:
    """Write regions as annotations that QuPath opens: level-0 pixels, closed rings, no CRS."""
    features = []
    for number, region in enumerate(regions, start=1):
        rings = [[*np.round(ring, 1).tolist(), np.round(ring[0], 1).tolist()] for ring in region.rings]
        features.append(
            {
                "type": "Feature",
                "geometry": {"type": "Polygon", "coordinates": rings},
                "properties": {
                    "objectType": "annotation",
                    "name": f"{name} {number}",
                    "classification": {"name": name, "color": [20, 160, 40]},
                },
            }
        )
    write_text(path, json.dumps({"type": "FeatureCollection", "features": features}) + "\n")


def _geometries(content: Any) -> Iterator[dict[str, Any]]:
    if isinstance(content, list):
        for item in content:
            yield from _geometries(item)
        return
    kind = content["type"]
    if kind == "FeatureCollection":
        yield from _geometries(content["features"])
    elif kind == "Feature":
        if content["geometry"] is not None:
            yield from _geometries(content["geometry"])
    elif kind == "GeometryCollection":
        yield from _geometries(content["geometries"])
    else:
        yield content


def _regions_of(geometry: dict[str, Any]) -> Iterator[Region]:
    polygons: list[Any] = []
    if geometry["type"] == "Polygon":
        polygons = [geometry["coordinates"]]
    elif geometry["type"] == "MultiPolygon":
        polygons = geometry["coordinates"]
    for polygon in polygons:
        rings = tuple(np.asarray([point[:2] for point in ring], dtype=np.float64) for ring in polygon)
        if not rings or len(rings[0]) < 3:
            continue
        if not all(np.isfinite(ring).all() for ring in rings):
            raise ValueError("a coordinate is not a finite number")
        yield Region(tuple(ring for ring in rings if len(ring) >= 3))
