"""`features.csv`: one row per slide, what became of it and why."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from wsi2dmamba.core.files import write_text


@dataclass(frozen=True)
class FeatureRow:
    """One slide's line.

    Attributes
    ----------
    slide_id, encoder
        Which features.
    patches, unreadable, dim
        Rows in the file, patches left out because the slide is damaged there, numbers per patch.
    seconds
        From opening the slide to its finished file (slides overlap, so these do not add up to the run's time).
    status
        ``done``, ``skipped`` (was done before), ``empty`` (no tissue patch, so no file), ``locked``
        (another run is at it) or ``failed``.
    message
        Why, in one line.
    """

    slide_id: str
    encoder: str
    patches: int
    unreadable: int
    dim: int
    seconds: float
    status: str
    message: str = ""


def write_summary(path: Path, rows: list[FeatureRow]) -> None:
    """Write `rows` as CSV, sorted by slide, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(FeatureRow)], lineterminator="\n")
    writer.writeheader()
    for row in sorted(rows, key=lambda row: row.slide_id):
        writer.writerow({**asdict(row), "seconds": f"{row.seconds:.2f}"})
    write_text(path, text.getvalue())
