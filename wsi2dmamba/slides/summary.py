"""What became of every slide: one record each, and `tiles.csv` over all of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from wsi2dmamba.core.files import write_json, write_text

Status = Literal["done", "no-tissue", "failed", "locked"]


@dataclass(frozen=True)
class SlideRow:
    """One line of `tiles.csv`.

    Attributes
    ----------
    slide, path
        Id and file.
    status
        ``done``; ``no-tissue``: looked at, nothing to tile, no tile file; ``failed``; ``locked``: another run is at
        it.
    patches, rows, cols
        Kept patches and the grid they lie on.
    mpp, width, height
        Of level 0; 0 if unknown.
    tissue_mm2
        Tissue area.
    seconds
        Time it took.
    skipped
        Whether it was done before, by an earlier run.
    reader
        What decoded it.
    message
        Why it failed.
    warnings
        What a person should look at.
    """

    slide: str
    path: str
    status: Status
    patches: int = 0
    rows: int = 0
    cols: int = 0
    mpp: float = 0.0
    width: int = 0
    height: int = 0
    tissue_mm2: float = 0.0
    seconds: float = 0.0
    skipped: bool = False
    reader: str = ""
    message: str = ""
    warnings: tuple[str, ...] = field(default=())


def write_summary(path: Path, rows: Sequence[SlideRow]) -> None:
    """Write `tiles.csv`, one line per slide, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [item.name for item in fields(SlideRow)]
    writer.writerow(names)
    for row in rows:
        values = asdict(row) | {
            "mpp": f"{row.mpp:.6g}",
            "tissue_mm2": f"{row.tissue_mm2:.4f}",
            "seconds": f"{row.seconds:.2f}",
            "skipped": "yes" if row.skipped else "no",
            "warnings": "; ".join(row.warnings),
        }
        writer.writerow([values[name] for name in names])
    write_text(path, text.getvalue())


@dataclass(frozen=True)
class SlideRecord:
    """What is remembered of a slide that was looked at.

    Attributes
    ----------
    row
        What became of it.
    settings
        JSON of what it was made with.
    stamp
        The slide file, as `SlideStamp`'s fields.
    preview
        Base64 JPEG of its overlay.
    """

    row: SlideRow
    settings: str
    stamp: dict[str, Any]
    preview: str = ""


def write_record(path: Path, record: SlideRecord) -> None:
    """Remember what became of one slide, and what it was made with."""
    write_json(path, asdict(record))


def read_record(path: Path) -> SlideRecord | None:
    """Return what is remembered of a slide; None if there is none that can be read."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        row = record["row"]
        row["warnings"] = tuple(row["warnings"])
        return SlideRecord(SlideRow(**row), str(record["settings"]), dict(record["stamp"]), str(record["preview"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
