"""Drawn H&E: five kinds of tissue as concentrations of hematoxylin and eosin, coloured by Beer and Lambert's law.

Nothing here is a photograph. Sizes are those of real tissue at 0.5 µm/px: a lymphocyte's nucleus is 7 µm across, a
carcinoma cell's 12 to 15 µm, a fibroblast's 3 by 16 µm, an adipocyte 40 µm and more.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from wsi2dmamba.demo.stain import EOSIN, HEMATOXYLIN

Field = NDArray[np.float32]
"""(side, side) float32: how much of one stain lies on each pixel, 1 = strong."""

_GLASS = 246.0


def draw_patch(kind: str, rng: np.random.Generator, side_px: int = 224) -> NDArray[np.uint8]:
    """Return one drawn patch of a kind of tissue.

    Parameters
    ----------
    kind
        One of `DRAWN_KINDS`.
    rng
        Where all variation comes from.
    side_px
        Side in pixels at 0.5 µm/px.

    Returns
    -------
    ndarray
        (side, side, 3) uint8, RGB.
    """
    hematoxylin, eosin = _PAINTERS[kind](rng, side_px)
    return _coloured(hematoxylin, eosin, rng)


def _coloured(hematoxylin: Field, eosin: Field, rng: np.random.Generator) -> NDArray[np.uint8]:
    blurred = [cv2.GaussianBlur(np.maximum(field, 0), (0, 0), 0.8) for field in (hematoxylin, eosin)]
    density = blurred[0][..., None] * HEMATOXYLIN + blurred[1][..., None] * EOSIN
    image = _GLASS * np.exp(-density) + rng.normal(0, 1.5, (*hematoxylin.shape, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


# --- what tissue is made of -------------------------------------------------------------------------------------


def _clouds(rng: np.random.Generator, side: int, size_px: float) -> Field:
    """Return smooth noise of unit variance whose blobs are about `size_px` wide."""
    white = rng.standard_normal((side, side)).astype(np.float32)
    smooth = cv2.GaussianBlur(white, (0, 0), size_px / 2, borderType=cv2.BORDER_REFLECT)
    return np.asarray(smooth / (smooth.std() + 1e-9), dtype=np.float32)


def _scattered(rng: np.random.Generator, side: int, spacing_px: float, tries: int = 14) -> NDArray[np.float64]:
    """Return (n, 2) points (x, y), a little beyond the edges too, none closer than `spacing_px` (dart throwing)."""
    reach = side + 2 * spacing_px
    darts = rng.uniform(-spacing_px, side + spacing_px, (int(tries * (reach / spacing_px) ** 2), 2))
    blocked = np.zeros(len(darts), dtype=bool)
    neighbours = cKDTree(darts).query_ball_point(darts, spacing_px)
    kept = []
    for index, near in enumerate(neighbours):
        if not blocked[index]:
            kept.append(index)
            blocked[near] = True
    return darts[kept]


def _outline(
    rng: np.random.Generator, center: NDArray[np.float64], radii: tuple[float, float], angle: float, roughness: float
) -> NDArray[np.int32]:
    """Return the polygon of a nucleus (an ellipse with a wavering edge) in 1/16 pixels for cv2."""
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    edge = np.ones_like(turn)
    for harmonic in (2, 3, 5):
        edge += roughness * rng.normal(0, 1 / harmonic) * np.cos(harmonic * turn + rng.uniform(0, 2 * np.pi))
    x, y = radii[0] * edge * np.cos(turn), radii[1] * edge * np.sin(turn)
    points = np.stack([x * np.cos(angle) - y * np.sin(angle), x * np.sin(angle) + y * np.cos(angle)], axis=1)
    return np.round((points + center) * 16).astype(np.int32)


def _fill(field: Field, polygon: NDArray[np.int32], value: float) -> None:
    cv2.fillPoly(field, [polygon], value, cv2.LINE_8, 4)


def _stroke(field: Field, polygon: NDArray[np.int32], value: float, width: int = 1) -> None:
    cv2.polylines(field, [polygon], True, value, width, cv2.LINE_8, 4)


def _dot(field: Field, x: float, y: float, radius_px: float, value: float) -> None:
    cv2.circle(field, (round(x * 16), round(y * 16)), max(round(radius_px * 16), 8), value, -1, cv2.LINE_8, 4)


def _cell_borders(points: NDArray[np.float64], side: int) -> Field:
    """Return, per pixel, how much farther the second nearest point is than the nearest: 0 on a cell's border."""
    y, x = np.mgrid[0:side, 0:side]
    distance, _ = cKDTree(points).query(np.stack([x.ravel(), y.ravel()], axis=1), k=2)
    return np.asarray((distance[:, 1] - distance[:, 0]).reshape(side, side), dtype=np.float32)


# --- the kinds --------------------------------------------------------------------------------------------------


def _tumour(rng: np.random.Generator, side: int) -> tuple[Field, Field]:
    """Nests of large cells: vesicular nuclei with a dark rim and nucleoli, here and there a lumen or a mitosis."""
    spacing = rng.uniform(21, 27)
    cells = _scattered(rng, side, spacing)
    borders = _cell_borders(cells, side)
    eosin = 0.42 + 0.05 * _clouds(rng, side, 30) + 0.05 * _clouds(rng, side, 4) - 0.16 * np.exp(-borders / 2.0)
    hematoxylin = 0.16 + 0.04 * _clouds(rng, side, 12) + 0.02 * _clouds(rng, side, 3)
    chromatin = _clouds(rng, side, 3.5)
    lumen = _clouds(rng, side, 55) > rng.uniform(1.7, 2.6)
    eosin[lumen], hematoxylin[lumen] = 0.03, 0.02
    for x, y in cells:
        if _inside(lumen, x, y):
            continue
        size = spacing * rng.uniform(0.33, 0.47)
        shape = _outline(rng, np.array([x, y]), (size, size * rng.uniform(0.65, 0.95)), rng.uniform(0, np.pi), 0.09)
        if rng.random() < 0.02:
            _fill(hematoxylin, _outline(rng, np.array([x, y]), (size * 0.8, size * 0.3), rng.uniform(0, 3), 0.3), 1.6)
            continue
        _paint_nucleus(hematoxylin, shape, chromatin, rng.uniform(0.6, 0.95), mottling=0.16)
        _stroke(hematoxylin, shape, rng.uniform(1.0, 1.25))
        for _ in range(rng.integers(1, 3)):
            shift_x, shift_y = rng.normal(0, size * 0.25, 2)
            _dot(hematoxylin, x + shift_x, y + shift_y, rng.uniform(1.2, 2.3), 1.35)
    return hematoxylin, eosin


def _lymphocytes(rng: np.random.Generator, side: int) -> tuple[Field, Field]:
    """A dense aggregate: small, round, dark nuclei in almost no cytoplasm, a few plasma cells and pale centres."""
    cells = _scattered(rng, side, rng.uniform(13.0, 15.5))
    eosin = 0.2 + 0.05 * _clouds(rng, side, 25) + 0.05 * _clouds(rng, side, 4)
    hematoxylin = 0.1 + 0.03 * _clouds(rng, side, 8)
    chromatin = _clouds(rng, side, 3)
    sparse = _clouds(rng, side, 45) > rng.uniform(1.5, 2.2)
    for x, y in cells:
        if _inside(sparse, x, y) and rng.random() < 0.6:
            continue
        size = rng.uniform(5.2, 7.0)
        center = np.array([x, y])
        if rng.random() < 0.08:
            cytoplasm = _outline(rng, center + rng.normal(0, 3, 2), (size * 1.5, size * 1.15), rng.uniform(0, 3), 0.05)
            _fill(eosin, cytoplasm, 0.5)
        shape = _outline(rng, center, (size, size * rng.uniform(0.82, 1.0)), rng.uniform(0, np.pi), 0.06)
        _paint_nucleus(hematoxylin, shape, chromatin, rng.uniform(1.25, 1.65), mottling=0.22)
    return hematoxylin, eosin


def _stroma(rng: np.random.Generator, side: int) -> tuple[Field, Field]:
    """Collagen: wavy pink bundles with clefts between them and thin nuclei lying along them."""
    angle = rng.uniform(0, np.pi)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) - side / 2
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    bend = 7 * np.sin(along / rng.uniform(24, 40) + rng.uniform(0, 6)) + 5 * _clouds(rng, side, 70)
    height = across + bend
    bundle = np.sin(height / rng.uniform(3.2, 4.6) + 1.2 * _clouds(rng, side, 40))
    fine = np.sin(height / rng.uniform(1.1, 1.5) + 2.0 * _clouds(rng, side, 25))
    eosin = 0.52 + 0.08 * _clouds(rng, side, 40) + 0.07 * bundle + 0.05 * fine + 0.03 * _clouds(rng, side, 3)
    clefts = np.clip(np.sin(height / rng.uniform(9, 14) + 2.5 * _clouds(rng, side, 60)) - 0.86, 0, 1) * 6
    eosin = (eosin * (1 - 0.9 * np.clip(clefts * (_clouds(rng, side, 30) > 0.1), 0, 1))).astype(np.float32)
    hematoxylin = (0.05 + 0.015 * _clouds(rng, side, 10)).astype(np.float32)
    chromatin = _clouds(rng, side, 3)
    slope_y, slope_x = np.gradient(height)
    for px, py in _scattered(rng, side, rng.uniform(34, 48), tries=4):
        row, column = (int(np.clip(value, 0, side - 1)) for value in (py, px))
        lie = np.arctan2(slope_y[row, column], slope_x[row, column]) + np.pi / 2 + rng.normal(0, 0.12)
        size = rng.uniform(9, 17)
        shape = _outline(rng, np.array([px, py]), (size, size * rng.uniform(0.16, 0.3)), float(lie), 0.08)
        _paint_nucleus(hematoxylin, shape, chromatin, rng.uniform(0.9, 1.3), mottling=0.15)
    return hematoxylin, eosin


def _fat(rng: np.random.Generator, side: int) -> tuple[Field, Field]:
    """Adipocytes: empty polygons in thin pink walls, flat nuclei pressed into the corners."""
    cells = _scattered(rng, side, rng.uniform(44, 62))
    borders = _cell_borders(cells, side) + 1.2 * _clouds(rng, side, 16)
    wall = 1 / (1 + np.exp(np.minimum((borders - rng.uniform(3.0, 4.5)) / 0.8, 30)))
    eosin = np.asarray(0.02 + 0.5 * wall * (1 + 0.2 * _clouds(rng, side, 6)), dtype=np.float32)
    hematoxylin = np.asarray(0.01 + 0.06 * wall, dtype=np.float32)
    chromatin = _clouds(rng, side, 3)
    rows, columns = np.nonzero(borders < 1.0)
    for index in rng.choice(len(rows), size=min(len(rows), int(rng.integers(4, 9))), replace=False):
        center = np.array([columns[index], rows[index]], dtype=float)
        shape = _outline(rng, center, (rng.uniform(6, 9), rng.uniform(1.8, 3.0)), rng.uniform(0, np.pi), 0.1)
        _paint_nucleus(hematoxylin, shape, chromatin, rng.uniform(1.0, 1.3), mottling=0.1)
    return hematoxylin, eosin


def _necrosis(rng: np.random.Generator, side: int) -> tuple[Field, Field]:
    """Dead tissue: smudged granular pink, ghosts of cells, shrunken nuclei and their dust."""
    eosin = 0.6 + 0.1 * _clouds(rng, side, 35) + 0.1 * _clouds(rng, side, 7) + 0.07 * _clouds(rng, side, 2.5)
    hematoxylin = 0.1 + 0.05 * _clouds(rng, side, 20) + 0.03 * _clouds(rng, side, 3)
    for x, y in _scattered(rng, side, 24, tries=5):
        shape = _outline(rng, np.array([x, y]), (rng.uniform(7, 11), rng.uniform(6, 9)), rng.uniform(0, np.pi), 0.15)
        _stroke(eosin, shape, float(eosin.mean() * 0.7))
        if rng.random() < 0.25:
            _dot(hematoxylin, x, y, rng.uniform(2.2, 4.0), rng.uniform(1.0, 1.5))
    for x, y in rng.uniform(0, side, (int(rng.integers(60, 140)), 2)):
        _dot(hematoxylin, x, y, rng.uniform(0.6, 1.6), rng.uniform(0.7, 1.4))
    return hematoxylin, eosin


def _paint_nucleus(
    hematoxylin: Field, polygon: NDArray[np.int32], chromatin: Field, strength: float, mottling: float
) -> None:
    """Fill a nucleus, its chromatin mottled by the noise field `chromatin`."""
    low = np.maximum(polygon.min(axis=0) // 16 - 1, 0)
    high = polygon.max(axis=0) // 16 + 2
    window = (slice(low[1], max(high[1], 0)), slice(low[0], max(high[0], 0)))
    part = hematoxylin[window]
    if part.size == 0:
        return
    mask = np.zeros(part.shape, dtype=np.uint8)
    cv2.fillPoly(mask, [polygon - 16 * low.astype(np.int32)], 1, cv2.LINE_8, 4)
    hematoxylin[window] = np.where(mask > 0, strength * (1 + mottling * chromatin[window]), part)


def _inside(mask: NDArray[np.bool_], x: float, y: float) -> bool:
    row, column = int(y), int(x)
    return bool(0 <= row < mask.shape[0] and 0 <= column < mask.shape[1] and mask[row, column])


_PAINTERS: dict[str, Callable[[np.random.Generator, int], tuple[Field, Field]]] = {
    "tumour": _tumour,
    "stroma": _stroma,
    "lymphocytes": _lymphocytes,
    "fat": _fat,
    "necrosis": _necrosis,
}

DRAWN_KINDS: tuple[str, ...] = tuple(_PAINTERS)
"""The kinds of tissue that can be drawn."""
