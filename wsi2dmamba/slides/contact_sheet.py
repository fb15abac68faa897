"""`tiles.html`: every slide at a glance, suspicious ones first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wsi2dmamba.core.files import write_text
from wsi2dmamba.slides.summary import SlideRow

_FEW_PATCHES = 10
_OUTLIER_SHARE = 0.05
_NEARLY_ALL = 0.95


@dataclass(frozen=True)
class Card:
    """One slide on the sheet.

    Attributes
    ----------
    row
        What became of it.
    preview
        Base64 JPEG of its overlay, or empty.
    doubts
        Why a person should look at it.
    rank
        0 is the most suspicious.
    """

    row: SlideRow
    preview: str
    doubts: tuple[str, ...]
    rank: int


def cards(rows: Sequence[SlideRow], previews: dict[str, str]) -> list[Card]:
    """Return the slides, suspicious ones first: failed, no tissue, locked, doubtful, the rest."""
    counts = [row.patches for row in rows if row.status == "done"]
    median = float(np.median(counts)) if counts else 0.0
    found = []
    for row in rows:
        doubts = doubts_about(row, median)
        rank = {"failed": 0, "no-tissue": 1, "locked": 2}.get(row.status, 3 if doubts else 4)
        found.append(Card(row, previews.get(row.slide, ""), doubts, rank))
    return sorted(found, key=lambda card: (card.rank, -len(card.doubts), card.row.slide))


def doubts_about(row: SlideRow, median_patches: float) -> tuple[str, ...]:
    """Return why a slide that was tiled may still be wrong."""
    doubts = list(row.warnings)
    if row.status != "done":
        return tuple(doubts)
    if row.patches < _FEW_PATCHES:
        doubts.append(f"only {row.patches} patches")
    elif row.patches < _OUTLIER_SHARE * median_patches:
        doubts.append(f"far fewer patches than the median slide ({median_patches:.0f})")
    slide_mm2 = row.width * row.height * row.mpp**2 / 1e6
    if slide_mm2 and row.tissue_mm2 > _NEARLY_ALL * slide_mm2:
        doubts.append("nearly the whole slide counts as tissue")
    return tuple(doubts)


def write_contact_sheet(path: Path, rows: Sequence[SlideRow], previews: dict[str, str]) -> None:
    """Write the page: one file that needs no other, all text escaped."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sheet = cards(rows, previews)
    counts: dict[str, int] = {}
    for card in sheet:
        name = "doubtful" if card.rank == 3 else card.row.status
        counts[name] = counts.get(name, 0) + 1
    text = environment.get_template("tiles.html").render(
        cards=sheet, counts=counts, patches=sum(row.patches for row in rows)
    )
    write_text(path, text)
