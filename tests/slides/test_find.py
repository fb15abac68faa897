"""Which slides an argument means: folders, MIRAX, DICOM series, twins."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from tests.shared_data import shared_path
from wsi2dmamba.core.errors import InputError
from wsi2dmamba.slides.dicom import series_of
from wsi2dmamba.slides.find import find_slides


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def element(group: int, number: int, kind: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    if kind == b"SQ":
        return struct.pack("<HH2s2xI", group, number, kind, len(value)) + value
    return struct.pack("<HH2sH", group, number, kind, len(value)) + value


def dicom(path: Path, series: str, *, nested: bool = False) -> Path:
    """Write the header of a DICOM file; `nested`: with a sequence of undefined length naming another series first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = b"\0" * 128 + b"DICM" + element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1")
    content += element(8, 0x60, b"CS", b"SM")
    if nested:
        inner = element(0x20, 0x0E, b"UI", b"9.9.9")
        item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
        content += struct.pack("<HH2s2xI", 8, 0x1115, b"SQ", 0xFFFFFFFF) + item
        content += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    content += element(0x20, 0x0D, b"UI", b"1.2.3") + element(0x20, 0x0E, b"UI", series.encode())
    path.write_bytes(content + element(0x28, 0x10, b"US", b"\1\0"))
    return path


def test_folders_are_searched_and_mirax_is_one_slide(tmp_path: Path) -> None:
    touch(tmp_path / "in/a.svs")
    touch(tmp_path / "in/deep/er/b.ome.tiff")
    touch(tmp_path / "in/m.mrxs")
    touch(tmp_path / "in/m/Data0001.dat")
    touch(tmp_path / "in/m/label.jpg")
    touch(tmp_path / "in/.hidden.svs")
    touch(tmp_path / "in/notes.txt")
    found = find_slides([tmp_path / "in"])
    assert list(found) == ["a", "b", "m"] and found["m"].suffix == ".mrxs"


def test_dicom_series_is_one_slide(tmp_path: Path) -> None:
    for level in range(3):
        dicom(tmp_path / "in/slide one" / f"level{level}.dcm", "1.2.1", nested=level == 1)
    assert find_slides([tmp_path / "in"]) == {"slide one": tmp_path / "in/slide one"}
    assert list(find_slides(sorted((tmp_path / "in/slide one").iterdir()))) == ["slide one"]


def test_two_series_in_one_folder_are_two_slides(tmp_path: Path) -> None:
    for name, series in (("a0", "1.1"), ("a1", "1.1"), ("b0", "1.2"), ("b1", "1.2")):
        dicom(tmp_path / f"{name}.dcm", series)
    assert list(find_slides([tmp_path])) == ["a0", "b0"]


def test_series_of_files_that_are_none(tmp_path: Path) -> None:
    assert series_of(touch(tmp_path / "a.dcm")) is None
    whole = dicom(tmp_path / "b.dcm", "1.2.3.4", nested=True)
    assert series_of(whole) == "1.2.3.4"
    whole.write_bytes(whole.read_bytes()[:150])
    assert series_of(whole) is None
    assert series_of(shared_path("data/slides/small_dicom.dcm"))


def test_same_slide_twice_is_once_and_twins_are_an_error(tmp_path: Path) -> None:
    one = touch(tmp_path / "x/a.svs")
    assert list(find_slides([one, tmp_path / "x"])) == ["a"]
    other = touch(tmp_path / "y/a.tiff")
    with pytest.raises(InputError) as caught:
        find_slides([tmp_path])
    assert str(one) in str(caught.value) and str(other) in str(caught.value)
