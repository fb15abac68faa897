"""Pyramidal TIFF slides of several makers, odd sizes and codecs, written with tifffile."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile

# Aperio's own compression numbers.
APERIO_JP2000_YCBCR = 33003
APERIO_JP2000_RGB = 33005


@dataclass(frozen=True)
class Pyramid:
    """How a slide is stored.

    Attributes
    ----------
    maker
        ``aperio``, ``generic`` or ``philips``: whose marks the file carries.
    codec
        ``jpeg-ycbcr``, ``jpeg-420`` (chroma at half resolution), ``jpeg-rgb``, ``jp2k-rgb``, ``jp2k-ycbcr``, or one
        of tifffile's names.
    factors
        Level-0 pixels per pixel of each level.
    tile
        Side of the stored tiles, pixels.
    mpp
        Micrometres per level-0 pixel; None leaves it out.
    """

    maker: str = "generic"
    codec: str = "jpeg-ycbcr"
    factors: tuple[int, ...] = (1, 4)
    tile: int = 128
    mpp: float | None = 0.5


def write_pyramid(path: Path, image: np.ndarray, pyramid: Pyramid) -> Path:
    """Write (height, width, 3) uint8 RGB as a slide and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    size = (image.shape[1], image.shape[0])
    levels = [_reduced(image, factor) for factor in pyramid.factors]
    with tifffile.TiffWriter(path) as tiff:
        for index, level in enumerate(levels):
            if pyramid.maker == "aperio" and index == 1:
                tiff.write(cv2.resize(image, (64, 48)), photometric="rgb", description="Aperio thumbnail", **_PLAIN)
            shape = (level.shape[1], level.shape[0])
            if pyramid.maker == "philips":
                level = _padded(level, pyramid.tile)
            _write_level(tiff, level, pyramid, index, _description(pyramid, size, shape, index))
    return path


_PLAIN = {"metadata": None, "software": False}


def _write_level(
    tiff: tifffile.TiffWriter, level: np.ndarray, pyramid: Pyramid, index: int, description: str | None
) -> None:
    options: dict[str, object] = {"photometric": "rgb"}
    if pyramid.codec.startswith("jpeg"):
        options |= {"compression": "jpeg", "compressionargs": {"level": 85}}
        if pyramid.codec != "jpeg-rgb":  # tifffile then stores YCbCr
            options["subsampling"] = (2, 2) if pyramid.codec == "jpeg-420" else (1, 1)
    elif pyramid.codec.startswith("jp2k"):
        ycbcr = pyramid.codec == "jp2k-ycbcr"
        options["compression"] = APERIO_JP2000_YCBCR if ycbcr else APERIO_JP2000_RGB
        level = _ycbcr(level) if ycbcr else level
    else:
        options["compression"] = pyramid.codec
    if pyramid.mpp is not None and pyramid.maker == "generic":
        resolution = 10_000 / pyramid.mpp / pyramid.factors[index]
        options |= {"resolution": (resolution, resolution), "resolutionunit": "CENTIMETER"}
    if pyramid.maker == "philips":
        options["software"] = "Philips DP v1.0"
    tiff.write(
        np.ascontiguousarray(level),
        tile=(pyramid.tile, pyramid.tile),
        subfiletype=int(index > 0),
        description=description,
        maxworkers=1,
        **(_PLAIN | options),
    )


def _reduced(image: np.ndarray, factor: int) -> np.ndarray:
    """Return the picture at a lower level; pixels that do not fill one of it are dropped, as scanners do."""
    if factor == 1:
        return image
    shape = (image.shape[1] // factor, image.shape[0] // factor)
    return cv2.resize(image[: shape[1] * factor, : shape[0] * factor], shape, interpolation=cv2.INTER_AREA)


def _padded(level: np.ndarray, tile: int) -> np.ndarray:
    rows, columns = (-side % tile for side in level.shape[:2])
    return np.pad(level, ((0, rows), (0, columns), (0, 0)), constant_values=255)


def _ycbcr(level: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(level, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]


def _description(pyramid: Pyramid, size: tuple[int, int], shape: tuple[int, int], index: int) -> str | None:
    if pyramid.maker == "aperio":
        kind = "J2K/KDU Q=70" if pyramid.codec.startswith("jp2k") else "JPEG/RGB Q=85"
        mpp = "" if pyramid.mpp is None else f"|AppMag = {10 / pyramid.mpp:g}|MPP = {pyramid.mpp:g}"
        tiles = f"({pyramid.tile}x{pyramid.tile})"
        arrow = f" -> {shape[0]}x{shape[1]}" if index else ""
        return f"Aperio Image Library v11\r\n{size[0]}x{size[1]} [0,0 1x1] {tiles}{arrow} {kind}{mpp}"
    if pyramid.maker == "philips" and index == 0:
        return _philips_xml(pyramid)
    return None


def _philips_xml(pyramid: Pyramid) -> str:
    """Return the part of Philips' description that readers look at: pixel spacing, mm, of every level."""

    def spacing(factor: int) -> str:
        side = f"&quot;{(pyramid.mpp or 0.25) * factor / 1000:.8f}&quot;"
        return f'<Attribute Name="DICOM_PIXEL_SPACING">{side} {side}</Attribute>'

    levels = "".join(
        f'<DataObject ObjectType="PixelDataRepresentation">{spacing(factor)}</DataObject>' for factor in pyramid.factors
    )
    return (
        '<?xml version="1.0" encoding="UTF-8" ?><DataObject ObjectType="DPUfsImport">'
        '<Attribute Name="PIM_DP_SCANNED_IMAGES"><Array><DataObject ObjectType="DPScannedImage">'
        '<Attribute Name="PIM_DP_IMAGE_TYPE">WSI</Attribute>'
        f"{spacing(1)}"
        f'<Attribute Name="PIIM_PIXEL_DATA_REPRESENTATION_SEQUENCE"><Array>{levels}</Array></Attribute>'
        "</DataObject></Array></Attribute></DataObject>"
    )
