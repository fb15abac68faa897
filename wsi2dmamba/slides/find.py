"""Which slides a command line means: files, and folders searched for them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from wsi2dmamba.core.errors import InputError
from wsi2dmamba.slides.reader import IMAGE_SUFFIXES

SLIDE_SUFFIXES = IMAGE_SUFFIXES | frozenset(
    {".svs", ".svslide", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".zvi", ".czi", ".dcm"}
)


def find_slides(arguments: Iterable[Path]) -> dict[str, Path]:
    """Return slide id → path of everything the arguments name.

    Parameters
    ----------
    arguments
        Slide files, or folders searched recursively. A folder with several DICOM files is one slide, and so is a
        MIRAX index file with the folder of its name.

    Raises
    ------
    InputError
        If an argument does not exist, nothing is found, or two slides have one id (both paths are named).
    """
    given = list(arguments)
    slides: dict[str, Path] = {}
    for argument in given:
        if not argument.exists():
            raise InputError(f"{argument} does not exist")
        for path in _slides_at(argument):
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
        dicom = [name for name in names if name.lower().endswith(".dcm")]
        if len(dicom) > 1:
            yield here
            names = [name for name in names if name not in dicom]
        for name in names:
            if Path(name).suffix.lower() in SLIDE_SUFFIXES:
                yield here / name
