"""Slides in, report and predictions out, on small fabricated slides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from tests.fabricate import svs, truncate
from wsi2dmamba.cli import app
from wsi2dmamba.config import RunConfig, parse_config
from wsi2dmamba.core.errors import CheckpointError, InputError
from wsi2dmamba.pipeline.chain import ChainResult, run_chain
from wsi2dmamba.pipeline.predict import predict_features, predict_slides

CASES = 8


def settings(folder: Path, **changes: Any) -> RunConfig:
    values: dict[str, Any] = {
        "name": "chain",
        "output": str(folder / "runs"),
        "tile": {
            "slides": [str(folder / "slides")],
            "out": str(folder / "work"),
            "mpp": 1.0,
            "patch_px": 128,
            "min_tissue": 0.7,  # not the default: what is tiled to be predicted must be tiled alike
            "workers": 1,
        },
        "extract": {"tiles": str(folder / "work"), "out": str(folder / "work" / "features"), "workers": 0},
        "cohort": {"csv": str(folder / "cohort.csv"), "label_column": "label"},
        "features": {"dir": str(folder / "work" / "features" / "texture")},
        "splits": {"folds": 2, "validation_fraction": 0.25},
        "model": {"name": "abmil"},
        "train": {"epochs": 1, "accelerator": "cpu", "workers": 1},
        "eval": {"resamples": 20},
    }
    for section, change in changes.items():
        values[section] = {**values[section], **change}
    return parse_config(values)


@pytest.fixture(scope="module")
def chained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ChainResult]:
    folder = tmp_path_factory.mktemp("chain")
    rows = []
    for index in range(CASES):
        svs(folder / "slides" / f"s{index}.svs", seed=index)
        rows.append({"slide_id": f"s{index}.svs", "case_id": f"c{index}", "label": ["a", "b"][index % 2]})
    truncate(svs(folder / "slides" / "broken.svs"))
    pd.DataFrame(rows).to_csv(folder / "cohort.csv", index=False)
    return folder, run_chain(settings(folder), workers=1)


def times(folder: Path) -> dict[Path, int]:
    # Summaries say what the last run found, so every run writes them anew; results it leaves alone.
    changing = {"tiles.csv", "tiles.html", "features.csv", "manifest.json"}
    changing |= {".chain.json", "inputs.json", "cohort.json", "environment.json"}
    keep = {".h5", ".safetensors", ".csv", ".html", ".json"}
    return {
        path: path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.suffix in keep
        and path.name not in changing
        and "records" not in path.parts
        and path.name != "splits.csv"
    }


def test_the_chain_ends_with_a_report_and_names_the_slide_that_failed(chained: tuple[Path, ChainResult]) -> None:
    _, result = chained
    assert result.failed_slides == ("broken",)
    assert result.report.is_file()
    assert len(pd.read_csv(result.run / "predictions.csv")["case_id"].unique()) == CASES


def test_a_second_chain_does_nothing(chained: tuple[Path, ChainResult]) -> None:
    folder, _ = chained
    run_chain(settings(folder), workers=1)  # whatever another test asked of it last
    before = times(folder)
    lines: list[str] = []
    run_chain(settings(folder), workers=1, say=lines.append)
    assert times(folder) == before
    assert lines[-1] == "eval: nothing has changed"


def test_only_what_changed_is_done_again(chained: tuple[Path, ChainResult]) -> None:
    folder, result = chained
    before = times(folder)
    run_chain(settings(folder, train={"lr": 0.01}), workers=1)
    after = times(folder)
    changed = {path.name for path in after if after[path] != before.get(path)}
    assert {"model.safetensors", "predictions.csv", "report.html"} <= changed
    assert not any(name.endswith(".h5") for name in changed)
    run_chain(settings(folder, train={"lr": 0.01}, eval={"resamples": 25}), workers=1)
    judged = times(folder)
    assert {path.name for path in judged if judged[path] != after.get(path)} >= {"report.html", "metrics.json"}
    assert judged[result.run / "predictions.csv"] == after[result.run / "predictions.csv"]


def test_raw_slides_are_predicted_as_their_features_are(chained: tuple[Path, ChainResult], tmp_path: Path) -> None:
    folder, result = chained
    slides = [folder / "slides" / "s0.svs", folder / "slides" / "broken.svs"]
    raw = predict_slides(result.run, slides, tmp_path / "work", workers=1)
    assert list(raw.failed) == ["broken"]
    known = predict_features(result.run, folder / "work" / "features" / "texture")
    assert list(known.table["case_id"]) == [f"s{index}" for index in range(CASES)]
    expected = known.table.set_index("case_id").loc["s0", "prob_b"]
    assert raw.table.set_index("case_id").loc["s0", "prob_b"] == pytest.approx(expected, abs=1e-5)


def test_slides_of_a_patient_are_predicted_together(chained: tuple[Path, ChainResult], tmp_path: Path) -> None:
    folder, result = chained
    (tmp_path / "cases.csv").write_text("slide_id,case_id\ns0.svs,one\ns1.svs,one\ns2,two\n")
    table = predict_features(result.run, folder / "work" / "features" / "texture", cases=tmp_path / "cases.csv").table
    assert list(zip(table["case_id"], table["slides"], strict=True)) == [("one", 2), ("two", 1)]
    assert table[["prob_a", "prob_b"]].sum(axis=1).tolist() == pytest.approx([1.0, 1.0])


def invoke(*arguments: Any) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_the_predict_command(chained: tuple[Path, ChainResult], tmp_path: Path) -> None:
    folder, result = chained
    features = folder / "work" / "features" / "texture"
    assert invoke("predict", result.run, "--features", features, "--out", tmp_path / "p.csv").exit_code == 0
    assert len(pd.read_csv(tmp_path / "p.csv")) == CASES
    with pytest.raises(InputError, match="give slides, or feature files"):
        invoke("predict", result.run)
    with pytest.raises(CheckpointError, match="holds no trained model"):
        invoke("predict", tmp_path, "--features", features)


def test_features_of_another_kind_are_reported(chained: tuple[Path, ChainResult], tmp_path: Path) -> None:
    from tests.fabricate import feature_cohort

    _, result = chained
    other = feature_cohort(tmp_path, cases=2)
    predicted = predict_features(result.run, other.features)
    assert predicted.table.empty
    assert all("encoder made-up instead of texture" in reason for reason in predicted.failed.values())
