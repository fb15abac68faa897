"""`--slide-mpp` as one value or a column of a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsi2dmamba.core.errors import InputError, MissingResolutionError, SlideError
from wsi2dmamba.slides.mpp_table import parse_slide_mpp, read_mpp_table
from wsi2dmamba.slides.resolution import check_target, require_mpp


def test_a_value_or_a_table() -> None:
    assert parse_slide_mpp(None) == (None, None, "mpp")
    assert parse_slide_mpp("0.25") == (0.25, None, "mpp")
    assert parse_slide_mpp("a b/c.csv") == (None, Path("a b/c.csv"), "mpp")
    assert parse_slide_mpp("c.CSV:level0 mpp") == (None, Path("c.CSV"), "level0 mpp")
    with pytest.raises(InputError, match="a number or FILE"):
        parse_slide_mpp("20x")


def test_table_by_slide(tmp_path: Path) -> None:
    path = tmp_path / "cohort.csv"
    path.write_text("\ufeffslide_id,case_id,mpp\na.svs,1,0.25\nb.v2,2,\nc,3,0.5\nc,3,0.5\n", encoding="utf-8")
    assert read_mpp_table(path, "mpp") == {"a": 0.25, "c": 0.5}


@pytest.mark.parametrize(
    "text, words",
    [
        ("slide_id,other\na,1\n", "needs a column 'mpp'"),
        ("name,mpp\na,1\n", "slide_id or slide"),
        ("", "needs a column"),
        ("slide,mpp\na,40x\n", "line 2: mpp of a is '40x'"),
        ("slide,mpp\na,-1\n", "not a positive number"),
        ("slide,mpp\na,0.25\na,0.5\n", "both 0.25 and 0.5"),
    ],
)
def test_bad_tables_say_where(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_mpp_table(path, "mpp")


def test_resolution_is_believed_or_asked_for() -> None:
    slide = Path("a.svs")
    assert require_mpp(slide, 0.265, None) == 0.265 and require_mpp(slide, 0.265, 0.25) == 0.25
    for found in (None, 352.8, 0.0001):
        with pytest.raises(MissingResolutionError, match="--slide-mpp"):
            require_mpp(slide, found, None)
    check_target(slide, 0.499, 0.49, allow_upsampling=False)
    check_target(slide, 0.5, 0.25, allow_upsampling=True)
    with pytest.raises(SlideError, match=r"coarser than the 0\.25"):
        check_target(slide, 0.5, 0.25, allow_upsampling=False)
