"""`--slide-mpp`: one value for all slides, or a column of a table with one value per slide."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from wsi2dmamba.core.errors import InputError
from wsi2dmamba.slides.find import SLIDE_SUFFIXES

_SLIDE_COLUMNS = ("slide_id", "slide")
_DEFAULT_COLUMN = "mpp"


def parse_slide_mpp(text: str | None) -> tuple[float | None, Path | None, str]:
    """Read the option's value: a number, or ``FILE.csv`` or ``FILE.csv:COLUMN``.

    Returns
    -------
    tuple
        The value or None, the table or None, and its column.

    Raises
    ------
    InputError
        If it is neither.
    """
    if text is None:
        return None, None, _DEFAULT_COLUMN
    table = re.fullmatch(r"(.+\.csv)(?::([^:]+))?", text, flags=re.IGNORECASE)
    if table:
        return None, Path(table[1]), table[2] or _DEFAULT_COLUMN
    try:
        return float(text), None, _DEFAULT_COLUMN
    except ValueError as error:
        raise InputError(f"--slide-mpp must be a number or FILE.csv[:COLUMN], not {text!r}") from error


def read_mpp_table(path: Path, column: str) -> dict[str, float]:
    """Return slide id → µm per level-0 pixel. A slide whose cell is empty is left to say it itself.

    Raises
    ------
    InputError
        If the table or a column is missing, a value is no positive number, or one slide has two values.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the table {path} cannot be read: {error}") from error
    names = list(rows[0]) if rows else []
    slide_column = next((name for name in _SLIDE_COLUMNS if name in names), None)
    if slide_column is None or column not in names:
        raise InputError(
            f"{path} needs a column {column!r} and one called slide_id or slide; it has {', '.join(map(str, names))}"
        )
    found: dict[str, float] = {}
    for line, row in enumerate(rows, start=2):
        text = (row[column] or "").strip()
        slide_id = _without_suffix((row[slide_column] or "").strip())
        if not text or not slide_id:
            continue
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not 0 < value < float("inf"):
            raise InputError(f"{path} line {line}: {column} of {slide_id} is {text!r}, not a positive number")
        if found.setdefault(slide_id, value) != value:
            raise InputError(f"{path} line {line}: {slide_id} has both {found[slide_id]:g} and {value:g} µm per pixel")
    return found


def _without_suffix(slide_id: str) -> str:
    path = Path(slide_id)
    return path.stem if path.suffix.lower() in SLIDE_SUFFIXES else slide_id
