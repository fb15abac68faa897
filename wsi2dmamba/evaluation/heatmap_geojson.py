"""Patches as QuPath detections: GeoJSON in level-0 pixels, with scores as measurements."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np

from wsi2dmamba.evaluation.heatmap import PatchScores
from wsi2dmamba.evaluation.heatmap_draw import colours

_IDS = uuid.uuid5(uuid.NAMESPACE_URL, "wsi2dmamba/patches")


def to_geojson(scores: PatchScores, colour_by: str = "attention") -> dict[str, Any]:
    """Return a GeoJSON FeatureCollection that QuPath (0.4 and later) opens by drag and drop.

    Every patch is a detection with a UUID, a closed square in level-0 pixels; its measurements are a map, as QuPath
    writes and reads them since 0.4 (`QuPathTypeAdapters` in its source). There is no coordinate reference system:
    pixels are no place on Earth, and QuPath refuses a wrong one. Measurements show in QuPath's measurement maps.

    Parameters
    ----------
    scores
        What to write.
    colour_by
        Score that colours the squares as in the picture.
    """
    side = scores.tiles.geometry.patch_size_level0
    shades = np.rint(255 * colours(scores, colour_by)).astype(int)
    table = scores.table()
    measured = [name for name in table if name not in ("x_level0", "y_level0")]
    features = [
        {
            "type": "Feature",
            "id": str(uuid.uuid5(_IDS, f"{scores.tiles.geometry.slide_id}/{row}/{col}")),
            "geometry": {"type": "Polygon", "coordinates": [_square(int(x), int(y), side)]},
            "properties": {
                "objectType": "detection",
                "color": [int(value) for value in shade],
                "measurements": {name: _plain(value) for name, value in zip(measured, values, strict=True)},
            },
        }
        for (x, y), (row, col), shade, values in zip(
            scores.tiles.coords,
            scores.tiles.grid,
            shades,
            table[measured].itertuples(index=False),
            strict=True,
        )
    ]
    return {"type": "FeatureCollection", "features": features}


def _square(x: int, y: int, side: int) -> list[list[int]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side], [x, y]]


def _plain(value: float) -> float:
    return float(f"{float(value):.6g}")
