"""Stain that differs from slide to slide, as it does between laboratories and days."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

HEMATOXYLIN = np.array([0.650, 0.704, 0.286], dtype=np.float32)
EOSIN = np.array([0.093, 0.954, 0.283], dtype=np.float32)
"""Optical densities of the two stains in R, G, B, measured by Ruifrok and Johnston (2001)."""

_WHITE = 246.0
_DENSITY = -np.log(np.maximum(np.arange(256, dtype=np.float32), 1.0) / _WHITE)


@dataclass(frozen=True)
class Stain:
    """How strongly one slide took each stain, and the colour of its light.

    Attributes
    ----------
    hematoxylin, eosin
        Factors on the amount of each stain; 1 leaves it.
    glass
        (R, G, B) of the empty slide.
    """

    hematoxylin: float
    eosin: float
    glass: tuple[float, float, float]

    @classmethod
    def random(cls, rng: np.random.Generator) -> Stain:
        """Return a stain such as a slide of one laboratory may have."""
        low, high = 0.85, 1.18
        red, green, blue = (244.0 + rng.uniform(-3, 3) + rng.uniform(-1.5, 1.5, 3)).tolist()
        return cls(float(rng.uniform(low, high)), float(rng.uniform(low, high)), (red, green, blue))

    def apply(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return (height, width, 3) uint8 `image` as this slide would show it.

        The optical densities are split into hematoxylin, eosin and a residual, the first two scaled, and put
        together again: one 3x3 matrix.
        """
        residual = np.cross(HEMATOXYLIN, EOSIN)
        basis = np.stack([HEMATOXYLIN, EOSIN, residual / np.linalg.norm(residual)])
        matrix = np.linalg.inv(basis) @ np.diag([self.hematoxylin, self.eosin, 1.0]) @ basis
        density = cv2.transform(_DENSITY[image], matrix.T.astype(np.float32))
        shown = cv2.exp(-density) * np.asarray(self.glass, dtype=np.float32)
        return np.clip(np.rint(shown), 0, 255).astype(np.uint8)
