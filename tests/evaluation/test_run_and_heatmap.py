import json
import os
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from tests.fabricate import svs, tile_file
from tests.training.runs import quick_run
from wsi2dmamba.cli import app
from wsi2dmamba.core.errors import EvaluationError
from wsi2dmamba.evaluation.config import EvalConfig
from wsi2dmamba.evaluation.heatmap import score_patches
from wsi2dmamba.evaluation.heatmap_files import write_heatmap
from wsi2dmamba.evaluation.influence import blocks, influence
from wsi2dmamba.evaluation.run import evaluate_run
from wsi2dmamba.evaluation.targets import target_gradient
from wsi2dmamba.features.store import FeatureFile, read_features, write_features
from wsi2dmamba.slides.tilefile import SlideStamp
from wsi2dmamba.training.checkpoint import load_model
from wsi2dmamba.training.config import FeatureSource
from wsi2dmamba.training.data import bag_of
from wsi2dmamba.training.run import train_run

RUN = CliRunner()
HOT = (2, 3)  # (row, col) of the one patch that speaks for class-1


@pytest.fixture(scope="module")
def trained(classification_run: Path) -> Path:
    return classification_run


@pytest.fixture(scope="module")
def slide(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A slide of the run: one hot patch on a 4 × 5 grid, features and picture of one geometry."""
    file = _features(trained) / "case-001-s0.h5"
    learned_from, when = file.read_bytes(), file.stat()
    folder = tmp_path_factory.mktemp("slide")
    tiles = tile_file("case-001-s0", np.argwhere(np.ones((4, 5))), step_level0=128, patch_px=64)
    path = svs(folder / "case-001-s0.svs", size=tiles.geometry.level0_size, mpp=0.25)
    stat = path.stat()
    tiles = replace(tiles, stamp=SlideStamp(str(path), stat.st_size, stat.st_mtime_ns))
    features = np.random.default_rng(0).normal(size=(20, 16)).astype(np.float32) * 0.1
    features[HOT[0] * 5 + HOT[1], :8] += 4.0
    write_features(file, FeatureFile(features, tiles, "made-up", "1"))
    yield path
    file.write_bytes(learned_from)  # other tests use the run as it was trained
    os.utime(file, ns=(when.st_atime_ns, when.st_mtime_ns))


def _features(run: Path) -> Path:
    return run.parent.parent / "features"


def test_a_run_is_judged_from_its_folder(trained: Path) -> None:
    found, report = evaluate_run(trained, EvalConfig(resamples=50, subgroups=("fold",)))
    assert report == trained / "eval" / "report.html" and found.patients == 20
    text = report.read_text()
    assert (
        "Table: 25 rows" in text
        and "20 patients with 25 slides" in text
        and "several_slides" in text
        and "packages" in text
    )
    assert (trained / "eval" / "figures" / "training-curves.svg").is_file()


def test_subgroups_may_come_from_the_cohort_table(trained: Path) -> None:
    result = RUN.invoke(app, ["eval", str(trained), "--subgroup", "site", "--resamples", "50"])
    assert result.exit_code == 0, result.exception
    lines = pd.read_csv(trained / "eval" / "figures" / "forest.csv")["line"]
    assert {"site: site-0", "site: site-1", "site: site-2"} <= set(lines)


def test_the_hot_patch_lights_up_where_it_lies(trained: Path, slide: Path, tmp_path: Path) -> None:
    scores, written = write_heatmap(trained, str(slide), out=tmp_path, of_class="class-1", top=3)
    assert {path.name for path in written} >= {"attention.png", "contribution.png", "patches.geojson", "patches.csv"}
    table = pd.read_csv(tmp_path / "patches.csv")
    hottest = table.loc[table["contribution"].idxmax()]
    assert (hottest["row"], hottest["col"]) == HOT

    # With opaque colours: the hot patch, and only it, is dark red, to the pixel of its borders.
    write_heatmap(trained, "case-001-s0", out=tmp_path / "opaque", of_class="class-1", opacity=1.0, top=0)
    assert not (tmp_path / "opaque" / "top-contribution.png").exists()
    picture = cv2.imread(str(tmp_path / "opaque" / "contribution.png")).astype(int)
    scale = scores.tiles.geometry.level0_size[0] / picture.shape[1]
    expected = np.zeros(picture.shape[:2], dtype=bool)
    x, y = (scores.tiles.coords[HOT[0] * 5 + HOT[1]] / scale).round().astype(int)
    side = round(128 / scale)
    expected[y : y + side, x : x + side] = True
    np.testing.assert_array_equal((picture[..., 2] - picture[..., 0] > 50) & (picture[..., 1] < 20), expected)


def test_the_qupath_file_holds_closed_squares_in_level0_pixels(trained: Path, slide: Path, tmp_path: Path) -> None:
    scores, _ = write_heatmap(trained, str(slide), out=tmp_path)
    collection = json.loads((tmp_path / "patches.geojson").read_text())
    assert collection["type"] == "FeatureCollection" and "crs" not in collection
    assert len(collection["features"]) == 20
    for feature, (x, y) in zip(collection["features"], scores.tiles.coords, strict=True):
        ring = feature["geometry"]["coordinates"][0]
        assert ring[0] == ring[-1] == [x, y] and ring[2] == [x + 128, y + 128]
        assert feature["properties"]["objectType"] == "detection"
        measurements = feature["properties"]["measurements"]
        assert 0 <= measurements["attention"] <= 1 and all(isinstance(value, float) for value in measurements.values())
    ids = {str(uuid.UUID(feature["id"])) for feature in collection["features"]}
    assert len(ids) == 20


def test_only_models_that_did_not_train_on_the_patient_are_asked(trained: Path, slide: Path) -> None:
    file = _features(trained) / "case-001-s0.h5"
    source = FeatureSource(dir=file.parent)
    scores = score_patches(trained, file, source=source)
    table = pd.read_csv(trained / "predictions.csv")
    tested = table[(table["case_id"] == "case-001") & (table["split"] == "test")]["fold"].unique()
    assert scores.models == tuple(f"fold-{k}" for k in tested) and scores.held_out
    assert not score_patches(trained, file, source=source, fold=1 - int(tested[0])).held_out


@pytest.mark.parametrize(
    ("kind", "risk"),
    [("survival", "risk"), ("classification", None), ("cox", "risk")],
)
def test_the_gradient_is_that_of_the_reported_prediction(kind: str, risk: str | None, tmp_path: Path) -> None:
    config = quick_run(tmp_path, cases=12, task=kind, train={"epochs": 1, "batch_size": 4 if kind == "cox" else 1})
    one = load_model(train_run(config, workers=1) / "fold-0")
    logits = torch.linspace(-0.7, 0.9, one.task.out_dim, dtype=torch.float64)
    gradient = target_gradient(one, logits, 0).numpy()

    def reported(point: torch.Tensor) -> float:
        columns = one.task.predict(point[None])
        if risk is not None:
            return float(columns["risk"][0])
        p = columns["prob_class-0"][0]
        return float(np.log(p / (1 - p)))

    step = 1e-5 * torch.eye(len(logits), dtype=torch.float64)
    numeric = [(reported(logits + e) - reported(logits - e)) / 2e-5 for e in step]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-7)


def test_what_cannot_be_shown_is_one_line(trained: Path, slide: Path, tmp_path: Path) -> None:
    file = _features(trained) / "case-001-s0.h5"
    with pytest.raises(EvaluationError, match="no features of slide 'nowhere'"):
        write_heatmap(trained, "nowhere", out=tmp_path)
    with pytest.raises(EvaluationError, match="the slide file of 'case-003-s0' is not known"):
        write_heatmap(trained, "case-003-s0", out=tmp_path)
    with pytest.raises(EvaluationError, match="no class 'class-9'"):
        write_heatmap(trained, str(slide), out=tmp_path, of_class="class-9")
    with pytest.raises(EvaluationError, match="no trained fold 7"):
        write_heatmap(trained, str(slide), out=tmp_path, fold=7)
    other = svs(tmp_path / "other.svs", size=(640, 512), mpp=0.25)
    with pytest.raises(EvaluationError, match="would not lie on the tissue"):
        write_heatmap(trained, str(other), features=file, out=tmp_path / "o")
    narrow = read_features(file)
    write_features(tmp_path / "case-001-s0.h5", replace(narrow, features=narrow.features[:, :5]))
    with pytest.raises(EvaluationError, match="5 features per patch"):
        write_heatmap(trained, str(slide), features=tmp_path, out=tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_the_command_says_what_the_colours_mean(trained: Path, slide: Path, tmp_path: Path) -> None:
    result = RUN.invoke(app, ["heatmap", str(trained), str(slide), "--out", str(tmp_path), "--class", "class-1"])
    assert result.exit_code == 0, result.exception
    assert "log-odds of class-1" in result.output and "20 patches" in result.output


def test_the_influence_is_the_fall_of_the_prediction_without_the_patch(trained: Path, slide: Path) -> None:
    file = _features(trained) / "case-001-s0.h5"
    scores = score_patches(trained, file, source=FeatureSource(dir=file.parent), of_class="class-1", passes=64)
    hottest = scores.tiles.grid[int(np.argmax(scores.influence))]
    assert tuple(hottest) == HOT

    bag = bag_of(read_features(file), file).to("cpu", torch.float32)
    one = load_model(trained / scores.models[0])
    # The model takes the mean over patches: a patch's fall is its own share of the log-odds less its stand-ins'.
    share = scores.contribution - scores.contribution.mean()
    assert scores.influence.max() == pytest.approx(share.max(), rel=0.2)
    assert np.corrcoef(scores.influence, share)[0, 1] > 0.6
    shared = influence(one, bag, 1, passes=6)
    assert len(np.unique(np.round(shared, 9))) <= 6 and np.isfinite(shared).all()


def test_blocks_are_the_smallest_squares_that_suffice() -> None:
    grid = np.argwhere(np.ones((6, 6)))
    assert len(np.unique(blocks(grid, 36))) == 36
    fewer = blocks(grid, 10)
    assert len(np.unique(fewer)) == 9 and fewer[0] == fewer[1] == fewer[6] == fewer[7] != fewer[2]
