"""A folder of thirty slides tiled and extracted in one go: what can be done is done, what cannot says why."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from tests.slides.hospital import Expected, fill
from wsi2dmamba.cli import app
from wsi2dmamba.features.config import ExtractConfig
from wsi2dmamba.features.extract import extract_slides
from wsi2dmamba.slides.find import find_slides


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Expected]]:
    folder = tmp_path_factory.mktemp("hospital")
    return folder, fill(folder / "in")


@pytest.fixture(scope="module")
def tiled(hospital: tuple[Path, dict[str, Expected]]) -> dict[str, dict[str, str]]:
    folder, _ = hospital
    arguments = ["tile", str(folder / "in"), "--out", str(folder / "out"), "--patch-px", "128"]
    result = CliRunner().invoke(app, [*arguments, "--slide-mpp", str(folder / "mpp.csv"), "--workers", "1"])
    assert result.exit_code == 1  # one is truncated
    with (folder / "out/tiles.csv").open(newline="", encoding="utf-8") as file:
        return {row["slide"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
def test_every_slide_is_found_and_ends_as_it_should(
    hospital: tuple[Path, dict[str, Expected]], tiled: dict[str, dict[str, str]]
) -> None:
    _, expected = hospital
    assert len(expected) == 30 and set(tiled) == set(expected)
    assert {name: row["status"] for name, row in tiled.items()} == {
        name: item.status for name, item in expected.items()
    }
    for name, item in expected.items():
        assert item.words in tiled[name]["message"] + tiled[name]["warnings"], name
    readers = {tiled[name]["reader"] for name in expected}
    assert readers == {"native", "openslide", "tifffile", "image", ""}


@pytest.mark.slow
def test_the_tissue_is_where_it_was_drawn_in_every_format(
    hospital: tuple[Path, dict[str, Expected]], tiled: dict[str, dict[str, str]]
) -> None:
    folder, expected = hospital
    for name, row in tiled.items():
        truth = expected[name].tissue
        if row["status"] != "done" or truth is None:
            continue
        mask = cv2.imdecode(np.fromfile(folder / f"out/masks/{name}.png", np.uint8), cv2.IMREAD_GRAYSCALE) > 0
        scale = round(int(row["width"]) / mask.shape[1])
        drawn = cv2.resize(truth.astype(np.uint8), None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA) > 0
        found = mask[: drawn.shape[0], : drawn.shape[1]]
        # Ink over tissue takes some of it away; crumbs under 10,000 µm² are left out.
        least = {"fragments": 0.4, "blue pen (über Gewebe), schwarz": 0.6, "green pen": 0.8}.get(name, 0.9)
        assert (found & drawn).sum() / (found | drawn).sum() > least, name


@pytest.mark.slow
def test_suspicious_slides_come_first_on_the_sheet(
    hospital: tuple[Path, dict[str, Expected]], tiled: dict[str, dict[str, str]]
) -> None:
    page = (hospital[0] / "out/tiles.html").read_text(encoding="utf-8")
    places = [page.index(f">{name}<") for name in ("truncated", "blank", "red pen", "aperio 20x")]
    assert places == sorted(places) and page.count("nearly the whole slide") == 1


@pytest.mark.slow
def test_small_pieces_that_were_left_out_are_named_and_the_preset_keeps_them(
    hospital: tuple[Path, dict[str, Expected]], tiled: dict[str, dict[str, str]], tmp_path: Path
) -> None:
    assert not tiled["needle cores"]["warnings"]
    arguments = ["tile", str(hospital[0] / "in/fragments.svs"), "--out", str(tmp_path), "--preset", "biopsy"]
    assert CliRunner().invoke(app, [*arguments, "--patch-px", "128", "--min-tissue", "0.01"]).exit_code == 0
    mask = cv2.imread(str(tmp_path / "masks/fragments.png"), cv2.IMREAD_GRAYSCALE)
    assert cv2.connectedComponents(mask)[0] - 1 == 3


@pytest.mark.slow
def test_all_that_was_tiled_is_extracted(
    hospital: tuple[Path, dict[str, Expected]], tiled: dict[str, dict[str, str]]
) -> None:
    folder, _ = hospital
    config = ExtractConfig(tiles=folder / "out", out=folder / "features", workers=0, devices=("cpu",))
    rows = {row.slide_id: row for row in extract_slides(config).rows}
    assert set(rows) == {name for name, row in tiled.items() if row["status"] == "done"}
    assert {row.status for row in rows.values()} == {"done"}
    assert [name for name, row in rows.items() if row.unreadable] == ["corrupt tile"]
    for name, row in rows.items():
        assert row.patches + row.unreadable == int(tiled[name]["patches"])
    places = ["--tiles", str(folder / "out"), "--out", str(folder / "features")]
    again = CliRunner().invoke(app, ["extract", *places, "--device", "cpu"])
    assert again.exit_code == 0 and f"features: {folder / 'features' / 'texture'}" in again.output
    left_out = f"corrupt tile: done before, {rows['corrupt tile'].unreadable} unreadable patches left out"
    assert [line for line in again.output.splitlines() if "left out" in line] == [f"wsi2dmamba: {left_out}"]


@pytest.mark.slow
def test_a_dicom_series_and_a_mirax_slide_are_one_slide_each(hospital: tuple[Path, dict[str, Expected]]) -> None:
    found = find_slides([hospital[0] / "in"])
    assert found["dicom series"].is_dir() and found["mirax"].name == "mirax.mrxs"
