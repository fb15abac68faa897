"""Tables as people keep them: zipped, with slide suffixes, with other column names."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from wsi2dmamba.core.errors import CohortError

if TYPE_CHECKING:
    import pandas as pd

SLIDE_SUFFIXES = (
    ".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".dcm", ".vms", ".svslide",
    ".png", ".jpg", ".jpeg", ".ome.tif", ".ome.tiff", ".h5", ".pt",
)  # fmt: skip


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV as text, whatever its values look like.

    Parameters
    ----------
    path
        `.csv`, or one compressed as `.csv.zip`, `.csv.gz`, `.csv.bz2` or `.csv.xz`.

    Returns
    -------
    pandas.DataFrame
        Every value a string; an empty cell is NaN.

    Raises
    ------
    CohortError
        If the file is missing, empty, or no CSV.
    """
    import zipfile

    import pandas as pd

    if not path.is_file():
        raise CohortError(f"there is no table {path}; check the path (relative ones start at the current folder)")
    try:
        table = pd.read_csv(path, dtype=str, skipinitialspace=True, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, ValueError, zipfile.BadZipFile) as bad:
        raise CohortError(f"{path} is no readable CSV ({bad}); save it as comma-separated UTF-8") from bad
    table.columns = [str(name).strip() for name in table.columns]
    return table.apply(lambda column: column.str.strip().replace("", None))


def require_column(table: pd.DataFrame, column: str, path: Path, setting: str) -> pd.Series:
    """Return a column, or say which ones there are.

    Raises
    ------
    CohortError
        If `table` has no such column; the message names the nearest one.
    """
    if column in table.columns:
        found: pd.Series = table[column]
        return found
    raise CohortError(
        f"{path} has no column {column!r} ({setting}){near_miss(column, table.columns)}; "
        f"it has {some_of(map(str, table.columns), most=20)}"
    )


def near_miss(wanted: str, present: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` for the nearest of `present`, or nothing."""
    by_lower = {str(name).lower(): str(name) for name in present}
    close = difflib.get_close_matches(wanted.lower(), list(by_lower), n=1)
    return f" (did you mean {by_lower[close[0]]!r}?)" if close else ""


def slide_id_of(name: str) -> str:
    """Return the slide id of a file name as tables write it: no folder, no slide suffix."""
    stem = name.replace("\\", "/").rsplit("/", 1)[-1]
    for suffix in sorted(SLIDE_SUFFIXES, key=len, reverse=True):
        if stem.lower().endswith(suffix):
            return stem[: -len(suffix)]
    return stem


def some_of(names: Iterable[str], most: int = 4) -> str:
    """Return the first few names and how many more there are, for a message."""
    listed = list(names)
    shown = ", ".join(listed[:most])
    return shown if len(listed) <= most else f"{shown} and {len(listed) - most} more"
