"""The contact sheet: suspicious slides first, everything escaped, nothing outside needed."""

from __future__ import annotations

import re
from pathlib import Path

from wsi2dmamba.slides.contact_sheet import cards, write_contact_sheet
from wsi2dmamba.slides.summary import SlideRow


def row(slide: str, status: str = "done", patches: int = 400, **more: object) -> SlideRow:
    common = {"mpp": 0.5, "width": 10_000, "height": 10_000, "tissue_mm2": 5.0}
    return SlideRow(slide, f"/slides/{slide}.svs", status, patches, **(common | more))


ROWS = [
    row("good"),
    row("good too", patches=500),
    row("pen", warnings=("pen marks kept out (3.0% of the slide)",)),
    row("few", patches=4),
    row("far fewer", patches=15),
    row("everything", tissue_mm2=25.0),
    row("blank", "no-tissue", 0, message="no tissue found"),
    row("bad <script>alert(1)</script>", "failed", 0, message="cannot be opened: <b>&"),
]


def test_suspicious_slides_come_first() -> None:
    order = [card.row.slide for card in cards(ROWS, {})]
    assert order[0].startswith("bad") and order[1] == "blank"
    assert set(order[2:6]) == {"pen", "few", "far fewer", "everything"}
    assert order[6:] == ["good", "good too"]


def test_page_is_escaped_and_self_contained(tmp_path: Path) -> None:
    write_contact_sheet(tmp_path / "tiles.html", ROWS, {"good": "QUJD"})
    text = (tmp_path / "tiles.html").read_text(encoding="utf-8")
    assert "<script" not in text and "&lt;script&gt;" in text and "&lt;b&gt;&amp;" in text
    assert text.count('<div class="card') == len(ROWS)
    assert "data:image/jpeg;base64,QUJD" in text
    assert not re.search(r'(src|href)="(?!data:)', text)
    assert "nearly the whole slide" in text and "only 4 patches" in text
