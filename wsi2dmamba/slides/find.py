"""Which slides a command line means: files, and folders searched for them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from wsi2dmamba.core.errors import InputError
from wsi2dmamba.slides.dicom import one_slide_each
from wsi2dmamba.slides.reader import IMAGE_SUFFIXES

SLIDE_SUFFIXES = IMAGE_SUFFIXES | frozenset(
    {".svs", ".svslide", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".zvi", ".czi", ".dcm"}
)


def find_slides(arguments: Iterable[Path]) -> dict[str, Path]:
    """Return slide id → path of everything the arguments name.

    Parameters
    ----------
    arguments
        Slide files, or folders searched recursively. The DICOM files of one series are one slide, and so is
        a MIRAX index file with the folder of its name.

    Raises
    ------
    InputError
        If an argument does not exist, nothing is found, or two slides have one id (both paths are named).
    """
    given = list(arguments)
    slides: dict[str, Path] = {}
    missing = [argument for argument in given if not argument.exists()]
    if missing:
        raise InputError(f"{missing[0]} does not exist; give slide files, or folders that hold some")
    dicom = [argument for argument in given if argument.is_file() and _is_dicom(argument.name)]
    grouped = [path for folder in sorted({file.parent for file in dicom}) for path in _grouped(dicom, folder)]
    others = [argument for argument in given if argument not in dicom]
    for paths in (grouped, *map(_slides_at, others)):
        for path in paths:
            slide_id = slide_id_of(path)
            other = slides.setdefault(slide_id, path)
            if other.resolve() != path.resolve():
                raise InputError(
                    f"two slides are called {slide_id}: {other} and {path}; rename one or tile them into two folders"
                )
    if not slides:
        named = ", ".join(str(argument) for argument in given)
        raise InputError(f"no slides in {named}; slides end in {', '.join(sorted(SLIDE_SUFFIXES))}")
    return dict(sorted(slides.items()))


def slide_id_of(path: Path) -> str:
    """Return a slide's id: the file's stem, of a folder its name."""
    if path.is_dir():
        return path.resolve().name
    name = path.stem
    return name[:-4] if name.lower().endswith(".ome") else name


def _is_dicom(name: str) -> bool:
    return name.lower().endswith(".dcm")


def _grouped(files: list[Path], folder: Path) -> list[Path]:
    """Return one path per slide of the DICOM files given by name, which may be some of those in their folder."""
    given = [file for file in files if file.parent == folder]
    if len(given) == 1:
        return given
    slides = one_slide_each(given)
    all_of_it = len(given) == sum(_is_dicom(file.name) for file in folder.iterdir())
    return slides if all_of_it or slides[0] != folder else [given[0]]


def _slides_at(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for folder, folders, names in os.walk(path):
        folders.sort()
        names = sorted(name for name in names if not name.startswith("."))
        here = Path(folder)
        mirax_data = {Path(name).stem for name in names if name.lower().endswith(".mrxs")}
        folders[:] = [name for name in folders if name not in mirax_data and not name.startswith(".")]
        yield from one_slide_each([here / name for name in names if _is_dicom(name)])
        for name in names:
            if not _is_dicom(name) and Path(name).suffix.lower() in SLIDE_SUFFIXES:
                yield here / name
