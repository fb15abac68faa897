"""Which patches there are, and what is known of each: class, group, and split if one is given."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsi2dmamba.core.errors import InputError
from wsi2dmamba.training.tiles.config import TileData

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
_USUAL = {
    "path": ("path", "file", "filename", "image", "tile"),
    "label": ("label", "class"),
    "group": ("group", "patient", "patient_id", "case_id", "slide", "slide_id", "cluster"),
    "split": ("split",),
}
_SPLITS = {"val": "validation", "valid": "validation", "training": "train", "testing": "test"}


@dataclass(frozen=True)
class Tile:
    """A labelled patch.

    Attributes
    ----------
    name
        Its path as the table or folder has it, with forward slashes.
    path
        Where the file is.
    label
        Its class.
    group
        What must not be divided between training and test; None: it stands alone.
    split
        ``train``, ``validation`` or ``test``, where the table says so.
    """

    name: str
    path: Path
    label: str
    group: str | None = None
    split: str | None = None


def read_tiles(config: TileData) -> list[Tile]:
    """List the patches of a folder or table, in the order of their names.

    Raises
    ------
    InputError
        If there is none, a file or column is missing, or there are fewer than two classes.
    """
    tiles = _of_table(config) if config.data.is_file() else _of_folder(config)
    if not tiles:
        raise InputError(f"{config.data} has no images ({', '.join(IMAGE_SUFFIXES)}) below its class folders")
    classes = sorted({tile.label for tile in tiles})
    if len(classes) < 2:
        raise InputError(f"{config.data}: all images are of one class, {classes[0]!r}; at least two are needed")
    twice = [name for name, count in Counter(tile.name for tile in tiles).items() if count > 1]
    if twice:
        raise InputError(f"{config.data} lists {twice[0]!r} more than once")
    return sorted(tiles, key=lambda tile: tile.name)


def _of_folder(config: TileData) -> list[Tile]:
    if not config.data.is_dir():
        raise InputError(f"there is no folder or table {config.data}")
    groups = _group_table(config) if config.groups is not None else None
    tiles = []
    for path in sorted(config.data.rglob("*")):
        inside = path.relative_to(config.data)
        hidden = any(part.startswith(".") for part in inside.parts)
        if path.suffix.lower() not in IMAGE_SUFFIXES or len(inside.parts) < 2 or hidden:
            continue
        label, *between = inside.parts[:-1]
        group = "/".join(between) or None
        if groups is not None:
            if inside.as_posix() not in groups:
                raise InputError(f"{config.groups} has no row for {inside.as_posix()!r}")
            group = groups[inside.as_posix()]
        tiles.append(Tile(inside.as_posix(), path, label, group))
    return tiles


def _group_table(config: TileData) -> dict[str, str]:
    assert config.groups is not None
    rows = _rows(config.groups)
    path = _column(rows, "path", config.path_column, config.groups)
    group = _column(rows, "group", config.group_column, config.groups)
    assert path is not None and group is not None
    return {Path(row[path]).as_posix(): row[group] for row in rows if row[group]}


def _of_table(config: TileData) -> list[Tile]:
    if config.groups is not None:
        raise InputError("--groups goes with a folder; a table has a column for the group")
    rows = _rows(config.data)
    path = _column(rows, "path", config.path_column, config.data)
    label = _column(rows, "label", config.label_column, config.data)
    group = _column(rows, "group", config.group_column, config.data, required=False)
    split = _column(rows, "split", config.split_column, config.data, required=False)
    assert path is not None and label is not None
    tiles = []
    for number, row in enumerate(rows, start=2):
        if not row[path] or not row[label]:
            raise InputError(f"{config.data}, line {number}: no {path if not row[path] else label}")
        part = _split(row[split], config.data, number) if split else None
        name = Path(row[path]).as_posix()
        whose = (row[group] or None) if group else None
        tiles.append(Tile(name, config.data.parent / row[path], row[label], whose, part))
    return tiles


def _split(text: str, file: Path, line: int) -> str:
    part = _SPLITS.get(text.lower(), text.lower())
    if part not in ("train", "validation", "test"):
        raise InputError(f"{file}, line {line}: split {text!r} is none of train, validation, test")
    return part


def _rows(file: Path) -> Sequence[Mapping[str, str]]:
    if not file.is_file():
        raise InputError(f"there is no table {file}")
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = [{k: (v or "").strip() for k, v in row.items() if k} for row in csv.DictReader(stream)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{file} is no readable CSV ({error})") from error
    if not rows:
        raise InputError(f"{file} has no rows")
    return rows


def _column(
    rows: Sequence[Mapping[str, str]], role: str, asked: str | None, file: Path, required: bool = True
) -> str | None:
    have = list(rows[0])
    if asked is not None:
        if asked not in have:
            raise InputError(f"{file} has no column {asked!r} for the {role}; it has {', '.join(have)}")
        return asked
    found = next((name for name in have if name.lower() in _USUAL[role]), None)
    if found is None and required:
        raise InputError(f"{file} has no column for the {role}; name it with --{role}-column (of {', '.join(have)})")
    return found
