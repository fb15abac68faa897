"""The whole stage: what is written, what is skipped, what is refused, what goes on in spite of errors."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from tests import fabricate
from tests.shared_data import shared_path
from wsi2dmamba.cli import app
from wsi2dmamba.core.errors import InputError
from wsi2dmamba.slides.config import TileConfig, TissueConfig
from wsi2dmamba.slides.tile import TileReport, tile_slides
from wsi2dmamba.slides.tilefile import read_tile_file

SIZE = (1536, 1024)


def tiled(out: Path, *slides: Path, **options: object) -> TileReport:
    defaults: dict[str, object] = {"patch_px": 64, "workers": 1}
    return tile_slides(TileConfig(slides=slides, out=out, **(defaults | options)))


def table(out: Path) -> dict[str, dict[str, str]]:
    with (out / "tiles.csv").open(newline="") as file:
        return {row["slide"]: row for row in csv.DictReader(file)}


def test_slide_becomes_patches_overlay_and_row(tmp_path: Path) -> None:
    slide = fabricate.svs(tmp_path / "in" / "a b (1).x.svs", size=SIZE)
    report = tiled(tmp_path / "out", tmp_path / "in", tissue=TissueConfig(max_hole_um2=0))
    assert not report.failed
    tiles = read_tile_file(tmp_path / "out" / "tiles" / "a b (1).x.h5")
    truth = fabricate.tissue_blobs(SIZE)
    for (x, y), fraction in zip(tiles.coords, tiles.tissue, strict=True):
        assert fraction == pytest.approx(truth[y : y + 64, x : x + 64].mean(), abs=0.2)
    inside = [truth[y : y + 64, x : x + 64].mean() for y in range(0, 1024, 64) for x in range(0, 1536, 64)]
    assert abs(len(tiles) - sum(fraction >= 0.1 for fraction in inside)) <= 6
    assert tiles.stamp is not None and tiles.stamp.path == str(slide.absolute())
    row = table(tmp_path / "out")["a b (1).x"]
    assert row["status"] == "done" and int(row["patches"]) == len(tiles) and row["mpp"] == "0.5"
    assert float(row["tissue_mm2"]) == pytest.approx(truth.sum() * 0.25 / 1e6, rel=0.06)
    overlay = cv2.imread(str(tmp_path / "out" / "overlays" / "a b (1).x.png"))
    assert overlay is not None and overlay.shape[2] == 3


def test_mpp_decides_the_field_of_view(tmp_path: Path) -> None:
    fabricate.svs(tmp_path / "in" / "a.svs", size=SIZE, mpp=0.265)
    tiled(tmp_path / "out", tmp_path / "in", mpp=0.5)
    geometry = read_tile_file(tmp_path / "out" / "tiles" / "a.h5").geometry
    assert (geometry.patch_size_level0, geometry.slide_mpp) == (round(64 * 0.5 / 0.265), 0.265)


def test_bad_slides_are_reported_and_good_ones_done(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    fabricate.svs(folder / "good.svs", size=SIZE)
    fabricate.svs(folder / "blank.svs", size=SIZE, kind="blank")
    fabricate.svs(folder / "nompp.svs", size=SIZE, mpp=None)
    fabricate.svs(folder / "coarse.svs", size=SIZE, mpp=1.0)
    (folder / "broken.svs").write_bytes(b"no slide at all")
    result = CliRunner().invoke(app, ["tile", str(folder), "--out", str(tmp_path / "out"), "--patch-px", "64"])
    assert result.exit_code == 1
    rows = table(tmp_path / "out")
    assert {slide: row["status"] for slide, row in rows.items()} == {
        "good": "done",
        "blank": "no-tissue",
        "nompp": "failed",
        "coarse": "failed",
        "broken": "failed",
    }
    assert "--slide-mpp" in rows["nompp"]["message"] and "--allow-upsampling" in rows["coarse"]["message"]
    assert sorted(path.name for path in (tmp_path / "out" / "tiles").iterdir()) == ["good.h5"]
    for row in rows.values():
        assert "\n" not in row["message"]


def test_rerun_does_only_what_is_missing(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        fabricate.svs(tmp_path / "in" / f"{name}.svs", size=SIZE, kind="blank" if name == "c" else "tissue")
    out = tmp_path / "out"
    tiled(out, tmp_path / "in")
    first = {path.name: path.read_bytes() for path in (out / "tiles").iterdir()}
    (out / "tiles" / "b.h5").unlink()
    (out / "tiles" / ".b.partial-12.h5").write_bytes(b"killed")
    report = tiled(out, tmp_path / "in")
    assert [row.skipped for row in report.rows] == [True, False, True]
    assert {path.name: path.read_bytes() for path in (out / "tiles").iterdir()} == first


def test_changed_settings_are_refused_unless_overwritten(tmp_path: Path) -> None:
    fabricate.svs(tmp_path / "in" / "a.svs", size=SIZE)
    tiled(tmp_path / "out", tmp_path / "in")
    with pytest.raises(InputError, match=r"patch_px 64 \(now 32\)"):
        tiled(tmp_path / "out", tmp_path / "in", patch_px=32)
    tiled(tmp_path / "out", tmp_path / "in", patch_px=32, overwrite=True)
    assert read_tile_file(tmp_path / "out" / "tiles" / "a.h5").geometry.patch_px == 32


def test_replaced_slide_is_tiled_again_and_a_namesake_refused(tmp_path: Path) -> None:
    slide = fabricate.svs(tmp_path / "in" / "a.svs", size=SIZE)
    tiled(tmp_path / "out", slide)
    os.utime(slide, ns=(1, 1))
    assert [row.skipped for row in tiled(tmp_path / "out", slide).rows] == [False]
    namesake = fabricate.svs(tmp_path / "other" / "a.svs", size=SIZE, seed=1)
    with pytest.raises(InputError, match="another slide called a"):
        tiled(tmp_path / "out", namesake)


def test_slide_that_lost_its_tissue_leaves_no_tile_file(tmp_path: Path) -> None:
    slide = fabricate.svs(tmp_path / "in" / "a.svs", size=SIZE)
    tiled(tmp_path / "out", slide)
    fabricate.svs(slide, size=SIZE, kind="blank")
    assert tiled(tmp_path / "out", slide).rows[0].status == "no-tissue"
    assert not (tmp_path / "out" / "tiles" / "a.h5").exists()


def test_workers_give_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fabricate.svs(tmp_path / "in" / f"{name}.svs", size=SIZE)
    tiled(tmp_path / "one", tmp_path / "in")
    tiled(tmp_path / "two", tmp_path / "in", workers=2)
    for name in ("a.h5", "b.h5"):
        assert (tmp_path / "one/tiles" / name).read_bytes() == (tmp_path / "two/tiles" / name).read_bytes()


def test_plain_image_needs_slide_mpp(tmp_path: Path) -> None:
    path = tmp_path / "in" / "a.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), fabricate.slide_image(SIZE)[..., ::-1])
    assert "--slide-mpp" in tiled(tmp_path / "out", path).rows[0].message
    assert tiled(tmp_path / "out", path, slide_mpp=0.5).rows[0].status == "done"


def test_damage_is_counted_or_fails(tmp_path: Path) -> None:
    slide = fabricate.svs(tmp_path / "in" / "a.svs", size=(900, 700), mpp=2.0)
    fabricate.corrupt_jpeg_tile(slide)
    row = tiled(tmp_path / "out", slide, mpp=2.0).rows[0]
    assert row.status == "done" and "parts cannot be decoded" in row.warnings[0]
    row = tiled(tmp_path / "strict", slide, mpp=2.0, on_bad_tile="fail").rows[0]
    assert row.status == "failed" and not (tmp_path / "strict/tiles/a.h5").exists()


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["nowhere"], "does not exist"),
        (["empty"], "no slides in"),
        (["in", "--mpp", "0.5", "--magnification", "20"], "give one of them"),
        (["in", "--mpp", "-1"], "mpp"),
        (["in", "--overlap-px", "256"], "smaller than the patch"),
        (["in", "--origin", "1;2"], "two whole numbers"),
        (["in", "twin"], "two slides are called a"),
    ],
)
def test_impossible_calls_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    fabricate.svs(Path("in/a.svs"), size=(600, 400))
    fabricate.svs(Path("twin/deep/a.svs"), size=(600, 400))
    result = CliRunner().invoke(app, ["tile", *arguments, "--out", "out"])
    assert isinstance(result.exception, InputError) and result.exception.exit_code == 2
    assert words in str(result.exception) and "\n" not in str(result.exception)
    assert not Path("out").exists()


def test_magnification_is_a_synonym(tmp_path: Path) -> None:
    slide = fabricate.svs(tmp_path / "a.svs", size=SIZE, mpp=0.25)
    arguments = ["tile", str(slide), "--out", str(tmp_path / "out"), "--magnification", "20", "--patch-px", "64"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert read_tile_file(tmp_path / "out/tiles/a.h5").geometry.mpp == 0.5


def test_real_slides(tmp_path: Path) -> None:
    folder = shared_path("data/slides")
    report = tiled(tmp_path / "out", folder, patch_px=256)
    statuses = {row.slide: row.status for row in report.rows}
    assert statuses.pop("CMU-1-Small-Region") == "done"
    assert statuses.pop("small") == "no-tissue"
    assert set(statuses.values()) == {"failed"} and set(statuses) == {"broken", "unreadable", "boxes", "small_dicom"}
    tiles = read_tile_file(tmp_path / "out/tiles/CMU-1-Small-Region.h5")
    assert 40 <= len(tiles) <= 70 and np.all(tiles.coords % tiles.geometry.lattice.step_level0 == 0)
