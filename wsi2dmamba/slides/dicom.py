"""Which DICOM files belong to one slide: those of one series."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

_SERIES = (0x0020, 0x000E)
_ITEM = (0xFFFE, 0xE000)
_ITEM_END = (0xFFFE, 0xE00D)
_SEQUENCE_END = (0xFFFE, 0xE0DD)
_UNDEFINED = 0xFFFFFFFF
_LONG_LENGTH = {b"OB", b"OD", b"OF", b"OL", b"OW", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT", b"SV", b"UV"}


def series_of(path: Path) -> str | None:
    """Return a DICOM file's SeriesInstanceUID; None if it is no DICOM file, damaged, or does not say.

    Only the header up to that element is read (DICOM PS3.5, explicit and implicit little endian).
    """
    try:
        with path.open("rb") as file:
            file.seek(128)
            if file.read(4) != b"DICM":
                return None
            implicit = False
            while True:
                tag, kind, length = _element(file, implicit)
                if tag == (0x0002, 0x0010):
                    implicit = file.read(length).rstrip(b"\0 ") == b"1.2.840.10008.1.2"
                elif tag == _SERIES:
                    return file.read(length).rstrip(b"\0 ").decode("ascii")
                elif tag > _SERIES:
                    return None
                else:
                    _skip(file, kind, length, implicit)
    except (OSError, struct.error, UnicodeDecodeError, RecursionError):
        return None


def one_slide_each(files: Sequence[Path]) -> list[Path]:
    """Return one path per slide of the DICOM files of one folder.

    The files of one series are one slide: the folder, if it holds nothing else, else the first of them.
    A file that does not say its series stands alone.
    """
    series: dict[str, list[Path]] = {}
    for file in sorted(files):
        series.setdefault(series_of(file) or f"alone {file.name}", []).append(file)
    groups = list(series.values())
    if len(groups) == 1 and len(groups[0]) > 1:
        return [groups[0][0].parent]
    return [group[0] for group in groups]


def _element(file: BinaryIO, implicit: bool) -> tuple[tuple[int, int], bytes, int]:
    group, number = struct.unpack("<HH", file.read(4))
    if group == 0xFFFE:
        return (group, number), b"", struct.unpack("<I", file.read(4))[0]
    if implicit and group != 0x0002:
        return (group, number), b"", struct.unpack("<I", file.read(4))[0]
    kind = file.read(2)
    if kind in _LONG_LENGTH:
        return (group, number), kind, struct.unpack("<2xI", file.read(6))[0]
    return (group, number), kind, struct.unpack("<H", file.read(2))[0]


def _skip(file: BinaryIO, kind: bytes, length: int, implicit: bool) -> None:
    if length != _UNDEFINED:
        file.seek(length, 1)
        return
    while True:  # a sequence of items that ends with its own mark
        tag, _, item_length = _element(file, implicit)
        if tag == _SEQUENCE_END:
            return
        if tag != _ITEM:
            raise struct.error("not a sequence")
        if item_length != _UNDEFINED:
            file.seek(item_length, 1)
            continue
        while True:
            tag, kind, inner = _element(file, implicit)
            if tag == _ITEM_END:
                break
            _skip(file, kind, inner, implicit)
