"""Thirty slides as a lab may find them in one folder: many formats and resolutions, and everything that goes wrong."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tifffile

from tests import fabricate
from tests.slides import pictures
from tests.slides.dicoms import write_dicom_slide
from tests.slides.miraxes import write_mirax_slide
from tests.slides.tiffs import Pyramid, write_pyramid

GREEN, BLUE, RED, BLACK = (30, 150, 70), (40, 60, 175), (215, 40, 50), (25, 25, 30)


@dataclass(frozen=True)
class Expected:
    """What `tile` should make of a slide.

    Attributes
    ----------
    status
        As in `tiles.csv`.
    tissue
        (h, w) bool of level 0: where its tissue is; None where nobody can tell.
    words
        Part of its message or warnings.
    """

    status: str = "done"
    tissue: np.ndarray | None = None
    words: str = ""


def fill(folder: Path) -> dict[str, Expected]:
    """Write the slides into `folder` and `mpp.csv` beside it; return what is expected of each slide id."""
    made: dict[str, Expected] = {}
    for part in (_formats, _specimens, _artefacts, _damaged):
        made |= part(folder)
    with (folder.parent / "mpp.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["slide_id", "mpp"])
        writer.writerows([name, 0.5] for name in ("plain tiff", "picture", "photo", "strips"))
    return made


def _formats(folder: Path) -> dict[str, Expected]:
    where = pictures.resection()
    image = pictures.stained(where)
    odd = np.ascontiguousarray(image[:1531, :2039])
    whole = Expected(tissue=where)
    write_pyramid(folder / "aperio 20x.svs", image, Pyramid("aperio", "jpeg-420", (1, 4, 16), 256))
    write_pyramid(folder / "aperio 40x, odd size.svs", odd, Pyramid("aperio", "jpeg-rgb", (1, 4, 16), 240, mpp=0.265))
    write_pyramid(folder / "aperio j2k.svs", image, Pyramid("aperio", "jp2k-rgb", (1, 4), 256))
    write_pyramid(folder / "aperio j2k ycc.svs", image, Pyramid("aperio", "jp2k-ycbcr", (1, 4), 256))
    write_pyramid(folder / "generic.tiff", image, Pyramid("generic", "jpeg-ycbcr", (1, 2, 4), 256))
    write_pyramid(folder / "plain tiff.tif", image, Pyramid("generic", "deflate", (1, 2), 256, mpp=None))
    write_pyramid(folder / "philips.tiff", image, Pyramid("philips", "jpeg-420", (1, 2, 4, 8), 512))
    write_dicom_slide(folder / "dicom series", image)
    write_mirax_slide(folder / "mirax.mrxs", image, levels=2)
    pixels = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    _ome(folder / "ome.ome.tiff", image, {"axes": "YXS"} | pixels, photometric="rgb")
    cv2.imwrite(str(folder / "picture.png"), image[..., ::-1])
    cv2.imwrite(str(folder / "photo.jpg"), image[..., ::-1])
    tifffile.imwrite(folder / "strips.tif", image, rowsperstrip=64, compression="lzw", photometric="rgb")
    full = (
        "mirax",
        "aperio 20x",
        "aperio j2k",
        "aperio j2k ycc",
        "generic",
        "plain tiff",
        "philips",
        "dicom series",
        "ome",
    )
    made = dict.fromkeys((*full, "picture", "photo", "strips"), whole)
    made["aperio 40x, odd size"] = Expected(tissue=where[:1531, :2039])
    return made


def _ome(path: Path, image: np.ndarray, metadata: dict[str, object], **options: object) -> None:
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(image, tile=(256, 256), compression="deflate", metadata=metadata, **options)


def _specimens(folder: Path) -> dict[str, Expected]:
    drawn: dict[str, tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]] = {
        "needle cores": (pictures.cores(), pictures.stained),
        "fragments": (pictures.fragments(), pictures.stained),
        "tma": (pictures.spots(), pictures.stained),
        "pale fat": (pictures.resection(), lambda where: pictures.stained(where, strength=0.3)),
        "dab": (pictures.resection(), lambda where: pictures.stained(where, pictures.DAB)),
        "all tissue": (np.ones(pictures.SIZE[::-1], bool), pictures.stained),
        "dark field": (pictures.resection(), lambda where: np.where(where[..., None], pictures.stained(where), 8)),
        "blank": (np.zeros(pictures.SIZE[::-1], bool), pictures.stained),
    }
    made = {}
    for name, (where, draw) in drawn.items():
        _svs(folder / f"{name}.svs", draw(where).astype(np.uint8))
        made[name] = Expected("no-tissue" if name == "blank" else "done", where)
    made["fragments"] = Expected(tissue=pictures.fragments(), words="--preset biopsy")
    signal = pictures.fluorescent(pictures.resection())
    pixels = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    _ome(
        folder / "fluorescence.ome.tif", np.moveaxis(signal, -1, 0), {"axes": "CYX"} | pixels, photometric="minisblack"
    )
    return made | {"fluorescence": Expected(tissue=pictures.resection(), words="dark background")}


def _artefacts(folder: Path) -> dict[str, Expected]:
    where = pictures.resection()
    image = pictures.stained(where)
    around = [(0.05, 0.1), (0.3, 0.04), (0.75, 0.07), (0.96, 0.5), (0.8, 0.95)]
    across = [(0.2, 0.9), (0.45, 0.5), (0.7, 0.15)]
    green = pictures.with_pen(image, GREEN, around)
    several = pictures.with_pen(pictures.with_pen(image, BLUE, across), BLACK, [(0.9, 0.6), (0.98, 0.95)])
    red = pictures.with_pen(image, RED, [(0.02, 0.2), (0.08, 0.9), (0.3, 0.97)])
    drawn = {
        "green pen": (green, "pen marks"),
        "blue pen (über Gewebe), schwarz": (several, "pen marks"),
        "red pen": (red, "pen marks"),
        "Schnitt Nr. 7 (Kopie).v2.final": (pictures.with_border(image), ""),
        "bubble and haze": (pictures.with_bubble(image), ""),
        "yellow glass": (pictures.tinted(image), ""),
    }
    for name, (picture, _) in drawn.items():
        _svs(folder / "extra" / f"{name}.svs", picture)
    return {name: Expected(tissue=where, words=words) for name, (_, words) in drawn.items()}


def _damaged(folder: Path) -> dict[str, Expected]:
    where = pictures.resection()
    image = pictures.stained(where)
    fabricate.corrupt_jpeg_tile(_svs(folder / "corrupt tile.svs", image))
    fabricate.truncate(_svs(folder / "truncated.svs", image), 0.6)
    return {"corrupt tile": Expected(tissue=where), "truncated": Expected("failed", words="cut short")}


def _svs(path: Path, image: np.ndarray) -> Path:
    return write_pyramid(path, image, Pyramid("aperio", "jpeg-420", (1, 4, 16), 256))
