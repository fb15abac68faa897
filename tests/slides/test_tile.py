"""The whole stage: what is written, what is skipped, what is refused, what goes on in spite of errors."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
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
from wsi2dmamba.slides.geojson import rasterised, read_regions
from wsi2dmamba.slides.locks import held
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
    fabricate.truncate(fabricate.svs(folder / "cut.svs", size=SIZE))
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
        "cut": "failed",
    }
    assert "cut short" in rows["cut"]["message"]
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
    for folder in ("tiles", "records"):
        (out / folder / ".b.partial-12.h5").write_bytes(b"killed")
        os.utime(out / folder / ".b.partial-12.h5", (0, 0))
    report = tiled(out, tmp_path / "in")
    assert [row.skipped for row in report.rows] == [True, False, True]
    assert {path.name: path.read_bytes() for path in (out / "tiles").iterdir()} == first
    assert not list(out.rglob("*.partial-*"))


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


def test_pictures_and_regions_stand_beside_the_tiles(tmp_path: Path) -> None:
    slide = fabricate.svs(tmp_path / "in" / "a.svs", size=SIZE)
    out = tmp_path / "out"
    tiled(out, slide)
    mask = cv2.imread(str(out / "masks/a.png"), cv2.IMREAD_GRAYSCALE) > 0
    scale = SIZE[0] / mask.shape[1]
    assert (rasterised(read_regions(out / "tissue/a.geojson"), mask.shape, scale) != mask).mean() < 0.01
    assert cv2.imread(str(out / "thumbnails/a.png")).shape == cv2.imread(str(out / "overlays/a.png")).shape
    assert "data:image/jpeg;base64," in (out / "tiles.html").read_text(encoding="utf-8")
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["parameters"]["patch_px"] == 64 and manifest["result"] == {"slides": {"done": 1}}
    assert manifest["packages"]["openslide-python"]


def test_given_tissue_and_roi_decide(tmp_path: Path) -> None:
    slides = [fabricate.svs(tmp_path / "in" / f"{name}.svs", size=SIZE) for name in ("a", "b")]
    box = {"type": "Polygon", "coordinates": [[[128, 128], [640, 128], [640, 640], [128, 640], [128, 128]]]}
    (tmp_path / "regions").mkdir()
    (tmp_path / "regions/a.geojson").write_text(json.dumps({"type": "Feature", "geometry": box, "properties": {}}))
    report = tiled(tmp_path / "tissue", *slides, tissue_regions=tmp_path / "regions", min_tissue=0.5)
    assert [row.status for row in report.rows] == ["done", "failed"]
    assert report.rows[0].patches == 64 and "no regions for b" in report.rows[1].message
    inside = tiled(tmp_path / "roi", slides[0], roi=tmp_path / "regions").rows[0]
    everywhere = tiled(tmp_path / "all", slides[0]).rows[0]
    assert 0 < inside.patches < everywhere.patches
    coords = read_tile_file(tmp_path / "roi/tiles/a.h5").coords
    assert coords.min() >= 64 and coords.max() < 640
    with pytest.raises(InputError, match="give a folder"):
        tiled(tmp_path / "x", *slides, roi=tmp_path / "regions/a.geojson")
    far = box | {"coordinates": [[[9e6, 9e6], [9e6, 1e7], [1e7, 1e7]]]}
    (tmp_path / "regions/a.geojson").write_text(json.dumps(far))
    with pytest.raises(InputError, match="roi"):
        tiled(tmp_path / "roi", slides[0], roi=tmp_path / "regions")
    assert "outside the slide" in tiled(tmp_path / "far", slides[0], roi=tmp_path / "regions").rows[0].message


def test_resolution_from_a_table(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fabricate.svs(tmp_path / "in" / f"{name}.svs", size=SIZE, mpp=None)
    (tmp_path / "cohort.csv").write_text("slide_id,scanner_mpp\na,0.25\n")
    arguments = ["tile", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--patch-px", "64"]
    result = CliRunner().invoke(app, [*arguments, "--slide-mpp", f"{tmp_path / 'cohort.csv'}:scanner_mpp"])
    assert result.exit_code == 1
    rows = table(tmp_path / "out")
    assert rows["a"]["mpp"] == "0.25" and "--slide-mpp" in rows["b"]["message"]


def test_slide_that_another_run_holds_is_left_to_it(tmp_path: Path) -> None:
    slide = fabricate.svs(tmp_path / "in" / "a.svs", size=SIZE)
    with held(tmp_path / "out/locks/a.lock"):
        row = tiled(tmp_path / "out", slide).rows[0]
    assert row.status == "locked" and f"process {os.getpid()}" in row.message
    assert tiled(tmp_path / "out", slide).rows[0].status == "done"


def test_full_disk_fails_the_slide_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    slide = fabricate.svs(tmp_path / "in" / "a.svs", size=SIZE)
    code = (
        "import resource, sys; from pathlib import Path; from wsi2dmamba.slides.config import TileConfig\n"
        "from wsi2dmamba.slides.tile import tile_slides\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))\n"
        "tile_slides(TileConfig(slides=(Path(sys.argv[1]),), out=Path(sys.argv[2]), patch_px=64, workers=1))\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, slide, tmp_path / "out"], env=environment, check=False, timeout=120)
    assert "File too large" in table(tmp_path / "out")["a"]["message"]
    written = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path for path in written if "partial" in path.name] and not (tmp_path / "out/tiles/a.h5").exists()
    assert tiled(tmp_path / "out", slide).rows[0].status == "done"
