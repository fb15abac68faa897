import os
import subprocess
import sys
from pathlib import Path

from wsi2dmamba.core.staging import Stager


def test_slides_are_copied_ahead_and_removed_after(tmp_path: Path) -> None:
    slides = [tmp_path / "net" / f"{index}.svs" for index in range(5)]
    slides[0].parent.mkdir()
    for index, slide in enumerate(slides):
        slide.write_text(str(index))
    cache = tmp_path / "cache"
    with Stager(cache, ahead=2) as stager:
        for index, (slide, local) in enumerate(stager.staged(slides, lambda slide: slide)):
            assert local is not None and local != slide
            assert local.read_text() == str(index) and local.name == slide.name
            assert len(list(cache.rglob("*.svs"))) <= 4
            stager.release(local)
            assert not local.exists()
    assert list(cache.iterdir()) == []
    assert all(slide.exists() for slide in slides)


def test_mirax_brings_its_folder_and_a_folder_comes_whole(tmp_path: Path) -> None:
    (tmp_path / "a.mrxs").touch()
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "Data.dat").write_text("x")
    dicom = tmp_path / "dicom"
    dicom.mkdir()
    (dicom / "1.dcm").write_text("y")
    with Stager(tmp_path / "cache") as stager:
        (_, mirax), (_, folder) = stager.staged([tmp_path / "a.mrxs", dicom], lambda path: path)
        assert mirax is not None and (mirax.parent / "a" / "Data.dat").read_text() == "x"
        assert folder is not None and (folder / "1.dcm").read_text() == "y"


def test_without_a_folder_or_with_a_lost_slide_nothing_is_copied(tmp_path: Path) -> None:
    with Stager(None) as stager:
        assert list(stager.staged([tmp_path], lambda path: path)) == [(tmp_path, tmp_path)]
    with Stager(tmp_path / "cache") as stager:
        absent = tmp_path / "absent.svs"
        assert list(stager.staged([absent, None], lambda path: path)) == [(absent, absent), (None, None)]


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    abandoned = tmp_path / f"wsi2dmamba-cache-{dead.pid}-1"
    own = tmp_path / f"wsi2dmamba-cache-{os.getpid()}-1"
    for folder in (abandoned, own):
        folder.mkdir()
    with Stager(tmp_path):
        assert own.exists() and not abandoned.exists()
