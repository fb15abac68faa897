"""Pictures of slides as hospitals have them, at 0.5 µm/px: stained tissue on glass, and what else lies there."""

from __future__ import annotations

import functools

import cv2
import numpy as np

SIZE = (2048, 1536)
_TEXTURE_PX = 512
_GLASS = (243, 242, 244)
HE = ((226, 160, 196), (96, 58, 138))
DAB = ((214, 214, 226), (128, 84, 52))

Rgb = tuple[int, int, int]


def ellipses(*places: tuple[float, float, float, float], size: tuple[int, int] = SIZE) -> np.ndarray:
    """Return (h, w) bool: ellipses with uneven edges at (x, y, half width, half height), relative to the size."""
    mask = np.zeros((size[1], size[0]), np.uint8)
    for x, y, a, b in places:
        centre, axes = (int(x * size[0]), int(y * size[1])), (int(a * size[0]), int(b * size[1]))
        cv2.ellipse(mask, centre, axes, 0, 0, 360, 255, -1)
    waves = _clouds(size, 60, 5) * 0.25 + _clouds(size, 15, 6) * 0.1
    return cv2.GaussianBlur(mask, (0, 0), 6).astype(np.float32) / 255 + waves > 0.6


@functools.cache
def resection() -> np.ndarray:
    """Return where a large piece with a vessel in it lies."""
    return ellipses((0.45, 0.5, 0.36, 0.38), (0.86, 0.3, 0.07, 0.14)) & ~ellipses((0.5, 0.45, 0.04, 0.06))


def cores() -> np.ndarray:
    """Return where three needle cores lie, 60 to 100 µm wide."""
    mask = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    for index, width in enumerate((120, 160, 200)):
        y = 300 + 430 * index
        bent = np.array([(240, y), (800, y + 60), (1400, y - 30), (1800, y + 40)], np.int32)
        cv2.polylines(mask, [bent], False, 1, width)
    return mask.astype(bool)


def fragments() -> np.ndarray:
    """Return where five crumbs of a biopsy lie, 40 to 130 µm across."""
    places = ((0.2, 0.3, 40), (0.35, 0.6, 65), (0.55, 0.35, 60), (0.7, 0.7, 130), (0.85, 0.25, 50))
    return ellipses(*((x, y, r / SIZE[0], 0.9 * r / SIZE[1]) for x, y, r in places))


def spots() -> np.ndarray:
    """Return where the cores of a tissue microarray lie (small ones), one of them torn off."""
    radius = 0.07
    places = [(0.12 + 0.19 * c, 0.17 + 0.22 * r) for r in range(4) for c in range(5) if (r, c) != (1, 3)]
    return ellipses(*((x, y, radius, radius * SIZE[0] / SIZE[1]) for x, y in places))


def stained(inside: np.ndarray, stains: tuple[Rgb, Rgb] = HE, strength: float = 1.0, seed: int = 0) -> np.ndarray:
    """Return (h, w, 3) uint8: tissue of two stains with nuclei, fibres and gaps where `inside`, glass elsewhere."""
    height, width = inside.shape
    texture = _texture(stains, seed)
    repeats = (-(-height // _TEXTURE_PX), -(-width // _TEXTURE_PX), 1)
    field = np.tile(texture, repeats)[:height, :width]
    cover = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 1.5)[..., None] * strength
    noise = np.random.default_rng(seed).standard_normal((height, width, 1), dtype=np.float32)
    picture = np.asarray(_GLASS, np.float32) * (1 - cover) + field * cover + 2.5 * noise
    return np.clip(picture, 0, 255).astype(np.uint8)


def _texture(stains: tuple[Rgb, Rgb], seed: int) -> np.ndarray:
    """Return a square of tissue, (px, px, 3) float32: uneven stroma, nuclei of 6 µm, gaps."""
    size = (_TEXTURE_PX, _TEXTURE_PX)
    rng = np.random.default_rng(seed)
    field = np.asarray(stains[0], np.float32) + 22 * _clouds(size, 25, seed)[..., None]
    field += 12 * _clouds(size, 4, seed + 1)[..., None]
    dots = (rng.random((size[1] // 12 + 1, size[0] // 12 + 1)) < 0.22).astype(np.uint8)
    nuclei = cv2.GaussianBlur(cv2.resize(dots, size, interpolation=cv2.INTER_NEAREST).astype(np.float32), (0, 0), 3)
    field += np.clip(nuclei * 1.3, 0, 1)[..., None] * np.subtract(stains[1], stains[0], dtype=np.float32)
    gaps = (_clouds(size, 12, seed + 2) > 0.82)[..., None]
    return np.where(gaps, np.asarray(_GLASS, np.float32), field)


def with_pen(image: np.ndarray, colour: Rgb, points: list[tuple[float, float]], width: int = 170) -> np.ndarray:
    """Return the picture with a pen's line of 85 µm through relative points; tissue shows through a little."""
    mask = np.zeros(image.shape[:2], np.uint8)
    line = np.array([(x * image.shape[1], y * image.shape[0]) for x, y in points], np.int32)
    cv2.polylines(mask, [line], False, 255, width, cv2.LINE_AA)
    ink = cv2.GaussianBlur(mask, (0, 0), 5).astype(np.float32)[..., None] / 255
    ink *= 0.85 + 0.15 * _clouds((image.shape[1], image.shape[0]), 8, 3)[..., None]
    absorbed = 1 - ink * (1 - np.asarray(colour, np.float32) / 255)
    return (image * absorbed).astype(np.uint8)


def with_border(image: np.ndarray) -> np.ndarray:
    """Return the picture with the scanner's black margin at two sides and a coverslip's edge."""
    image = image.copy()
    image[:, :130] = image[-100:] = 6
    cv2.line(image, (int(0.9 * image.shape[1]), 0), (int(0.93 * image.shape[1]), image.shape[0]), (120, 122, 125), 8)
    return image


def with_bubble(image: np.ndarray) -> np.ndarray:
    """Return the picture with an air bubble's dark ring and an out-of-focus smear of stain."""
    image = image.copy()
    cv2.circle(image, (int(0.85 * image.shape[1]), int(0.75 * image.shape[0])), 200, (95, 95, 100), 14, cv2.LINE_AA)
    smear = cv2.GaussianBlur(ellipses((0.12, 0.85, 0.09, 0.1)).astype(np.float32), (0, 0), 50)[..., None]
    return np.clip(image - smear * np.array([10, 34, 16]), 0, 255).astype(np.uint8)


def tinted(image: np.ndarray, colour: Rgb = (250, 246, 225)) -> np.ndarray:
    """Return the picture on yellowish glass."""
    return (image.astype(np.float32) * np.asarray(colour) / 255).astype(np.uint8)


def fluorescent(inside: np.ndarray, seed: int = 0) -> np.ndarray:
    """Return (h, w, 3) uint16: blue nuclei, green and red cells on a black ground, as channels DAPI, FITC, TRITC."""
    size = (inside.shape[1], inside.shape[0])
    rng = np.random.default_rng(seed)
    dots = (rng.random((size[1] // 14 + 1, size[0] // 14 + 1)) < 0.3).astype(np.uint8)
    nuclei = cv2.GaussianBlur(cv2.resize(dots, size, interpolation=cv2.INTER_NEAREST).astype(np.float32), (0, 0), 3)
    cells = np.stack([nuclei, 0.4 + 0.3 * _clouds(size, 15, 1), 0.3 + 0.3 * _clouds(size, 30, 2)], axis=-1)
    signal = 200 + rng.normal(0, 12, (*inside.shape, 3)) + inside[..., None] * cells * 9000
    return np.clip(signal, 0, 65535).astype(np.uint16)


def _clouds(size: tuple[int, int], scale: int, seed: int) -> np.ndarray:
    """Return (h, w) float32 in -1 to 1 that varies over `scale` pixels."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((size[1] // scale + 2, size[0] // scale + 2)).astype(np.float32)
    return cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC) * 2 - 1
