"""Regions in and out: QuPath's exports, holes, places, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.shared_data import shared_path
from wsi2dmamba.core.errors import InputError, SlideError
from wsi2dmamba.slides.geojson import (
    file_digest,
    rasterised,
    read_regions,
    region_file,
    regions_of_mask,
    write_regions,
)


def square(x: float, y: float, side: float) -> list[list[float]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


POLYGON = {"type": "Polygon", "coordinates": [square(80, 80, 160), square(120, 120, 40)]}
MULTI = {"type": "MultiPolygon", "coordinates": [[square(0, 0, 80)], [square(240, 0, 80)]]}


def feature(geometry: object) -> dict[str, object]:
    return {"type": "Feature", "geometry": geometry, "properties": {"objectType": "annotation"}}


@pytest.mark.parametrize(
    "content",
    [
        {"type": "FeatureCollection", "features": [feature(POLYGON), feature(MULTI), feature(None)]},
        [feature(POLYGON), feature(MULTI), feature({"type": "Point", "coordinates": [1, 2]})],
        feature({"type": "GeometryCollection", "geometries": [POLYGON, MULTI]}),
        {"type": "GeometryCollection", "geometries": [POLYGON, MULTI]},
    ],
)
def test_every_form_gives_the_same_areas(tmp_path: Path, content: object) -> None:
    mask = rasterised(read_regions(write(tmp_path / "a.geojson", content)), (40, 40), 8.0)
    expected = np.zeros((40, 40), dtype=bool)
    expected[10:30, 10:30] = True
    expected[15:20, 15:20] = False
    expected[:10, :10] = expected[:10, 30:] = True
    assert (mask != expected).mean() < 0.06  # OpenCV also fills the pixels that the outline runs through
    assert mask[20, 25] and not mask[17, 17] and mask[5, 35] and not mask[35, 5]


def test_mask_survives_the_round_trip(tmp_path: Path) -> None:
    y, x = np.mgrid[0:200, 0:260]
    mask = ((x - 120) ** 2 / 90**2 + (y - 100) ** 2 / 70**2 < 1) & ((x - 120) ** 2 + (y - 90) ** 2 > 20**2)
    mask |= (x > 230) & (y > 150)
    path = tmp_path / "out" / "a.geojson"
    write_regions(path, regions_of_mask(mask, 16.06))
    content = json.loads(path.read_text())
    assert "crs" not in content and content["type"] == "FeatureCollection" and len(content["features"]) == 2
    for item in content["features"]:
        assert item["properties"]["objectType"] == "annotation"
        for ring in item["geometry"]["coordinates"]:
            assert ring[0] == ring[-1] and len(ring) >= 4
    again = rasterised(read_regions(path), mask.shape, 16.06)
    assert (mask & again).sum() / (mask | again).sum() > 0.98


def test_real_qupath_and_trident_files_open() -> None:
    regions = read_regions(shared_path("data/annotations/qupath05.geojson"))
    assert len(regions) == 3
    outline = np.concatenate([region.rings[0] for region in regions])
    mask = rasterised(regions, (500, 500), float(outline.max()) / 450)
    assert 0.001 < mask.mean() < 0.9
    trident = read_regions(shared_path("data/interop/trident/contours_geojson/CMU-1-Small-Region.geojson"))
    assert rasterised(trident, (742, 555), 4.0).mean() > 0.2


def test_empty_mask_has_no_regions(tmp_path: Path) -> None:
    assert regions_of_mask(np.zeros((20, 20), dtype=bool), 4.0) == []


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", "no GeoJSON"),
        ('{"type": "FeatureCollection"}', "can be understood"),
        ('{"type": "Polygon", "coordinates": [[["a", 1], [2, 3], [4, 5]]]}', "can be understood"),
        ('{"type": "Polygon", "coordinates": [[[NaN, 1], [2, 3], [4, 5]]]}', "finite"),
        ('{"type": "Point", "coordinates": [1, 2]}', "no polygon"),
        ("[]", "no polygon"),
        ("3", "can be understood"),
    ],
)
def test_what_is_no_region_file_is_one_line(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.geojson"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_regions(path)
    assert "\n" not in str(caught.value)


def test_folder_has_one_file_per_slide(tmp_path: Path) -> None:
    path = write(tmp_path / "a b.geojson", feature(POLYGON))
    assert region_file(tmp_path, "a b") == path and region_file(path, "any") == path
    with pytest.raises(SlideError, match="no regions for c"):
        region_file(tmp_path, "c")
    digest = file_digest(tmp_path, "a b")
    write(path, feature(MULTI))
    assert file_digest(tmp_path, "a b") != digest and file_digest(None, "a b") is None
