"""A MIRAX slide (3DHISTECH) as OpenSlide reads it: an index file's name, and a folder of data beside it."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np

_TILE = 256
_SLIDE_ID = "0123456789ABCDEF"
_FILL_BGR = 0xF4F2F3


def write_mirax_slide(path: Path, image: np.ndarray, *, mpp: float = 0.5, levels: int = 3) -> Path:
    """Write (height, width, 3) uint8 RGB and return `path`, which ends in ``.mrxs``.

    Tiles of bright glass are left out, as the scanner leaves out what it does not scan. The size must be whole
    tiles of the coarsest level.
    """
    side = _TILE << (levels - 1)
    assert image.shape[0] % side == 0 and image.shape[1] % side == 0, f"not whole tiles of {side}"
    folder = path.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    across, down = image.shape[1] // _TILE, image.shape[0] // _TILE
    pages, data = [], b""
    for level in range(levels):
        size = (image.shape[1] >> level, image.shape[0] >> level)
        reduced = image if level == 0 else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        entries = []
        for row in range(size[1] // _TILE):
            for column in range(size[0] // _TILE):
                tile = reduced[row * _TILE : (row + 1) * _TILE, column * _TILE : (column + 1) * _TILE]
                if tile.min() > 225:
                    continue
                jpeg = cv2.imencode(".jpg", cv2.cvtColor(tile, cv2.COLOR_RGB2BGR))[1].tobytes()
                number = (row << level) * across + (column << level)
                entries.append(struct.pack("<4i", number, len(data), len(jpeg), 0))
                data += jpeg
        pages.append(struct.pack("<2i", len(entries), 0) + b"".join(entries))
    (folder / "Data0000.dat").write_bytes(data)
    (folder / "Index.dat").write_bytes(_index(pages))
    (folder / "Slidedat.ini").write_text(_slidedat(across, down, levels, mpp))
    return path


def _index(pages: list[bytes]) -> bytes:
    """Return version, id, two roots, one pointer per level, one record per level and its page."""
    head = b"01.02" + _SLIDE_ID.encode()
    pointers_at = len(head) + 8
    place = pointers_at + 4 * len(pages)
    pointers, records = b"", b""
    for page in pages:
        pointers += struct.pack("<i", place)
        records += struct.pack("<2i", 0, place + 8) + page
        place += 8 + len(page)
    return head + struct.pack("<2i", pointers_at, 0) + pointers + records


def _slidedat(across: int, down: int, levels: int, mpp: float) -> str:
    general = {
        "SLIDE_VERSION": "01.02",
        "SLIDE_ID": _SLIDE_ID,
        "IMAGENUMBER_X": across,
        "IMAGENUMBER_Y": down,
        "OBJECTIVE_MAGNIFICATION": round(10 / mpp),
    }
    hierarchy = {
        "HIER_COUNT": 1,
        "NONHIER_COUNT": 0,
        "INDEXFILE": "Index.dat",
        "HIER_0_NAME": "Slide zoom level",
        "HIER_0_COUNT": levels,
        **{f"HIER_0_VAL_{level}_SECTION": f"LAYER_0_LEVEL_{level}_SECTION" for level in range(levels)},
    }
    sections = {"GENERAL": general, "HIERARCHICAL": hierarchy, "DATAFILE": {"FILE_COUNT": 1, "FILE_0": "Data0000.dat"}}
    for level in range(levels):
        sections[f"LAYER_0_LEVEL_{level}_SECTION"] = {
            "OVERLAP_X": 0,
            "OVERLAP_Y": 0,
            "MICROMETER_PER_PIXEL_X": mpp * 2**level,
            "MICROMETER_PER_PIXEL_Y": mpp * 2**level,
            "IMAGE_FORMAT": "JPEG",
            "IMAGE_FILL_COLOR_BGR": _FILL_BGR,
            "DIGITIZER_WIDTH": _TILE,
            "DIGITIZER_HEIGHT": _TILE,
            "IMAGE_CONCAT_FACTOR": int(level > 0),
        }
    lines = []
    for name, values in sections.items():
        lines += [f"[{name}]", *(f"{key} = {value}" for key, value in values.items())]
    return "\n".join(lines) + "\n"
