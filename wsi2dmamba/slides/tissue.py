"""Tissue told from background by classical means.

Bright field: stain is colour. After the glass is made white, the difference between the largest and the smallest
channel is near zero for glass, dust, air bubbles, black borders and black ink, and large for every common stain.
Otsu's threshold (IEEE Trans. SMC 9, 1979) divides it, but only within bounds: on a blank slide Otsu divides noise,
and on a slide full of tissue it divides nuclei from the rest.
Dark field (fluorescence, masked exports): tissue is what is brighter than the dark.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.slides.artefacts import find_black, find_haze, find_pen
from wsi2dmamba.slides.config import TISSUE_PRESETS, TissueConfig
from wsi2dmamba.slides.masks import channel_range, closed, drop_small, fill_holes, opened

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]

# A pixel this bright and this colourless is glass.
_GLASS_LEAST = 170
_GLASS_CHROMA = 40
# Glass can be tinted; more than this is pale tissue, not tint.
_TINT_CHROMA = 18
_DARK_MOST = 60

# Bounds of Otsu's thresholds, grey levels of 255 (entropy: bits).
_CHROMA_BOUNDS = (9.0, 26.0)
_DARKNESS_BOUNDS = (16.0, 60.0)
_ENTROPY_BOUNDS = (1.2, 2.0)
_GLOW_BOUNDS = (10.0, 40.0)

_SMOOTH_UM = 12.0
_ENTROPY_WINDOW_UM = 60.0
_CLOSE_UM = 12.0
_OPEN_UM = 4.0

# Share of the tissue that may be dropped as too small without a word.
_MANY_CRUMBS = 0.2


@dataclass(frozen=True)
class Tissue:
    """Where the tissue of a slide is.

    Attributes
    ----------
    mask
        (h, w) bool, True on tissue.
    excluded
        (h, w) bool, True where ink, black borders or haze were kept out.
    downsample
        Level-0 pixels per mask pixel.
    mpp
        Micrometres per mask pixel.
    dark
        Whether the background is dark.
    warnings
        What a person should look at.
    """

    mask: Mask
    excluded: Mask
    downsample: float
    mpp: float
    dark: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def area_um2(self) -> float:
        """Tissue area in µm²."""
        return float(np.count_nonzero(self.mask)) * self.mpp**2


def find_tissue(pixels: Picture, mpp: float, downsample: float, config: TissueConfig) -> Tissue:
    """Find tissue on a thumbnail.

    Parameters
    ----------
    pixels
        (h, w, 3) uint8 RGB.
    mpp
        Micrometres per pixel of it.
    downsample
        Level-0 pixels per pixel of it.
    config
        Method and sizes.
    """
    if is_dark_background(pixels):
        mask = _clean(_glowing(pixels, mpp), mpp, config)
        return Tissue(mask, np.zeros_like(mask), downsample, mpp, dark=True, warnings=("dark background",))
    balanced = white_balanced(pixels)
    chroma = chroma_of(balanced)
    black = find_black(pixels, mpp) if config.exclude_artefacts else np.zeros(chroma.shape, dtype=bool)
    pen = find_pen(balanced, mpp) if config.exclude_artefacts else np.zeros(chroma.shape, dtype=bool)
    excluded = black | pen
    raw, warnings = _bright_field(balanced, chroma, mpp, config, excluded)
    if config.exclude_artefacts:
        haze = find_haze(balanced, chroma, raw, mpp)
        raw &= ~haze
        excluded |= haze
        warnings += _artefact_warnings(pen, haze, raw)
    mask = _clean(raw & ~excluded, mpp, config)
    warnings += _crumb_warnings(raw & ~excluded, mask, mpp, config)
    return Tissue(mask, excluded & ~mask, downsample, mpp, warnings=tuple(warnings))


def is_dark_background(pixels: Picture) -> bool:
    """Tell dark-background slides from bright-field ones: much that is dark and next to no glass.

    A bright-field slide with black padding still shows glass; one that shows none is treated alike either way.
    """
    least, most = channel_range(pixels)
    glass = float(np.mean((least >= _GLASS_LEAST) & (most - least <= _GLASS_CHROMA)))
    dark = float(np.mean(most <= _DARK_MOST))
    return dark > 0.05 and glass < min(0.02, 0.2 * dark)


def white_balanced(pixels: Picture) -> Picture:
    """Return the picture with its glass made white; unchanged where no glass is seen."""
    least, most = channel_range(pixels)
    glass = (least >= _GLASS_LEAST) & (most - least <= _TINT_CHROMA)
    if np.count_nonzero(glass) < 0.002 * least.size:
        return pixels
    # The glass is the brightest common colour: darker colourless pixels are dust and haze.
    luminance = most[glass]
    histogram = np.convolve(np.bincount(luminance, minlength=256), np.ones(5), mode="same")
    common = int(np.flatnonzero(histogram >= 0.2 * histogram.max())[-1])
    white = glass & (np.abs(most.astype(np.int16) - common) <= 4)
    ground = np.array([_median(np.asarray(channel, dtype=np.uint8)[white]) for channel in cv2.split(pixels)])
    table = np.clip(np.arange(256)[:, None] * (250.0 / np.maximum(ground, 1.0)), 0, 255).round().astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, table[:, None, :].transpose(1, 0, 2)), dtype=np.uint8)


def chroma_of(pixels: Picture) -> Picture:
    """Return the largest minus the smallest channel: HSV's saturation times its value, calm where it is dark."""
    least, most = channel_range(pixels)
    return most - least


def local_entropy(grey: Picture, window_px: int, bins: int = 16) -> NDArray[np.float32]:
    """Return the entropy (bits) of the grey levels, in `bins` classes, around every pixel."""
    entropy = np.zeros(grey.shape, dtype=np.float32)
    classes = grey // (256 // bins)
    for index in range(bins):
        member = (classes == index).astype(np.float32)
        if not member.any():
            continue
        share = cv2.blur(member, (window_px, window_px))
        entropy -= share * np.log2(np.maximum(share, 1e-6))
    return entropy


def bounded_otsu(values: Picture, bounds: tuple[float, float]) -> float:
    """Return Otsu's threshold of an 8-bit picture, no lower and no higher than `bounds`."""
    threshold, _ = cv2.threshold(values, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return float(np.clip(threshold, *bounds))


def _median(values: Picture) -> float:
    """Return the median of 8-bit values through their histogram."""
    counts = np.cumsum(np.bincount(values, minlength=256))
    return float(np.searchsorted(counts, (counts[-1] + 1) // 2))


def _bright_field(
    balanced: Picture, chroma: Picture, mpp: float, config: TissueConfig, excluded: Mask
) -> tuple[Mask, list[str]]:
    if config.method == "entropy":
        return _disordered(balanced, mpp), []
    if config.method == "otsu":
        return _dark(balanced, mpp), []
    mask = _over(_smooth(chroma, mpp), _CHROMA_BOUNDS)
    if config.method == "hsv" or _clean(mask & ~excluded, mpp, config).any():
        return mask, []
    # Nothing is coloured: silver stains and grey scans are dark and disordered; shadows and bubbles only dark.
    grey = _dark(balanced, mpp) & _disordered(balanced, mpp)
    found = _clean(grey & ~excluded, mpp, config).any()
    return grey, ["tissue found by darkness, not by colour"] if found else []


def _artefact_warnings(pen: Mask, haze: Mask, raw: Mask) -> list[str]:
    warnings = []
    pen_share, haze_share = float(np.mean(pen)), float(np.mean(haze))
    if pen_share > 0.001:
        warnings.append(f"pen marks kept out ({pen_share:.1%} of the slide)")
    if haze_share > 0.1 * float(np.mean(raw)) + 0.001:
        warnings.append(f"haze or out-of-focus parts kept out ({haze_share:.1%} of the slide)")
    return warnings


def _crumb_warnings(raw: Mask, kept: Mask, mpp: float, config: TissueConfig) -> list[str]:
    """Say when much of a slide is pieces that the size filter drops and the preset for biopsies would keep."""
    least_um2 = TISSUE_PRESETS["biopsy"]["min_area_um2"]
    crumbs = drop_small(_joined(raw, mpp), least_um2 / mpp**2) & ~kept
    dropped, total = np.count_nonzero(crumbs), np.count_nonzero(crumbs | kept)
    if config.min_area_um2 <= least_um2 or dropped <= _MANY_CRUMBS * total:
        return []
    share = f"{dropped / total:.0%} of the tissue is"
    return [f"{share} pieces under {config.min_area_um2:,.0f} µm² and left out; --preset biopsy keeps them"]


def _glowing(pixels: Picture, mpp: float) -> Mask:
    glow = _smooth(channel_range(pixels)[1], mpp)
    dark = glow[glow <= _DARK_MOST]
    ground = float(np.bincount(dark.ravel(), minlength=1).argmax()) if dark.size else 0.0
    return _over(glow, (ground + _GLOW_BOUNDS[0], ground + _GLOW_BOUNDS[1]))


def _dark(balanced: Picture, mpp: float) -> Mask:
    return _over(_smooth(np.asarray(255 - _grey(balanced), dtype=np.uint8), mpp), _DARKNESS_BOUNDS)


def _disordered(balanced: Picture, mpp: float) -> Mask:
    window = max(5, round(_ENTROPY_WINDOW_UM / mpp) | 1)
    entropy = local_entropy(_grey(balanced), window)
    scaled = np.clip(entropy * 50, 0, 255).astype(np.uint8)
    return _over(scaled, (_ENTROPY_BOUNDS[0] * 50, _ENTROPY_BOUNDS[1] * 50))


def _grey(pixels: Picture) -> Picture:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def _smooth(values: Picture, mpp: float) -> Picture:
    size = min(max(3, round(_SMOOTH_UM / mpp) | 1), 7)
    return np.asarray(cv2.medianBlur(values, size), dtype=np.uint8)


def _over(values: Picture, bounds: tuple[float, float]) -> Mask:
    return values > bounded_otsu(values, bounds)


def _clean(mask: Mask, mpp: float, config: TissueConfig) -> Mask:
    cleaned = drop_small(_joined(mask, mpp), config.min_area_um2 / mpp**2)
    return fill_holes(cleaned, config.max_hole_um2 / mpp**2)


def _joined(mask: Mask, mpp: float) -> Mask:
    """Return the mask with the gaps between its cells closed and single threads gone."""
    return opened(closed(mask, _CLOSE_UM / mpp), _OPEN_UM / mpp)
