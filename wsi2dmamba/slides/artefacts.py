"""What looks like tissue and is none: ink, black borders, haze. As far as colour, size and sharpness tell.

Eosin and haematoxylin both absorb green most, so on an H&E slide red is never below green; DAB browns keep to the
same order. Ink does not: green and blue pens invert it, red pens are purer than any eosin. Over tissue ink and stain
multiply, and a blue pen no longer inverts red and green; but it leaves less red than crowded nuclei do.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.slides.masks import Mask, channel_range, closed, drop_small, grown, opened

Picture = NDArray[np.uint8]

_BLACK_MOST = 55
_BLACK_CHROMA = 35
_BLACK_LEAST_UM2 = 20_000.0
_PEN_LEAST_UM2 = 20_000.0
_PEN_GAP_UM = 4.0
_PEN_THIN_UM = 8.0
_PEN_EDGE_UM = 60.0
_HAZE_WINDOW_UM = 60.0
_HAZE_THIN_UM = 60.0


def find_pen(balanced: Picture, mpp: float) -> Mask:
    """Return where there is green, blue or red ink, its blurred edges included.

    Parameters
    ----------
    balanced
        (h, w, 3) uint8 RGB with white glass.
    mpp
        Micrometres per pixel.
    """
    red, green, blue = (channel.astype(np.int16) for channel in cv2.split(balanced))
    chroma = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    green_ink = (green - red > 24) & (chroma > 40) & (green >= blue - 25)
    blue_ink = (green - red > 12) & (blue - red > 70)
    blue_ink |= (green - red > -16) & (blue - red > 72) & (red < 95)
    red_ink = (red > 130) & (red - green > 120) & (red - blue > 95) & (np.abs(green - blue) < 60)
    ink = closed(green_ink | blue_ink | red_ink, _PEN_GAP_UM / mpp)
    ink = opened(ink, _PEN_THIN_UM / mpp)
    ink = drop_small(ink, _PEN_LEAST_UM2 / mpp**2)
    return grown(ink, _PEN_EDGE_UM / mpp) if ink.any() else ink


def find_black(pixels: Picture, mpp: float) -> Mask:
    """Return black borders, black ink and the edges of the scan: dark, colourless and large."""
    least, most = channel_range(pixels)
    black = (most <= _BLACK_MOST) & (most - least <= _BLACK_CHROMA)
    black = drop_small(opened(black, 8.0 / mpp), _BLACK_LEAST_UM2 / mpp**2)
    return grown(black, 24.0 / mpp) if black.any() else black


def find_haze(balanced: Picture, chroma: Picture, tissue: Mask, mpp: float) -> Mask:
    """Return the faint parts of `tissue` that show no structure: smears, mounting medium, far out of focus.

    Sharp tissue varies over tens of micrometres even where it is pale; what is faint and as smooth as glass is none.
    """
    if not tissue.any():
        return np.zeros_like(tissue)
    window = max(5, round(_HAZE_WINDOW_UM / mpp) | 1)
    grey = cv2.cvtColor(balanced, cv2.COLOR_RGB2GRAY).astype(np.float32)
    # Slow shading is no structure: only what differs from the surroundings counts.
    detail = grey - cv2.blur(grey, (window, window))
    roughness = np.sqrt(np.maximum(cv2.blur(detail * detail, (window, window)), 0))
    glass = roughness[~tissue]
    smooth = max(1.2, 1.5 * float(np.median(glass))) if glass.size > 100 else 1.2
    colour = float(np.median(chroma[tissue]))
    haze = tissue & (roughness < smooth) & (chroma < min(0.6 * colour, 40.0))
    return opened(haze, _HAZE_THIN_UM / mpp)
