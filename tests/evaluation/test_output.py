import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.evaluation.made_up import classification_table, survival_table
from wsi2dmamba.core.errors import EvaluationError
from wsi2dmamba.evaluation.config import EvalConfig
from wsi2dmamba.evaluation.curves import roc_curve_with_band
from wsi2dmamba.evaluation.figures.survival_calibration import calibration_at
from wsi2dmamba.evaluation.judge import evaluate
from wsi2dmamba.evaluation.mistakes import most_certain_mistakes
from wsi2dmamba.evaluation.output import write_evaluation
from wsi2dmamba.evaluation.predictions import read_predictions
from wsi2dmamba.evaluation.report import Background
from wsi2dmamba.evaluation.subgroups import judge_subgroups

QUICK = EvalConfig(resamples=60)
EVIL = "<script>alert('$x$')</script>"


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_report_is_one_page_and_text_of_the_data_is_escaped(tmp_path: Path) -> None:
    table = classification_table().rename(columns={"prob_c1": f"prob_{EVIL}"})
    table["label"] = table["label"].replace("c1", EVIL)
    table["case_id"] += EVIL
    background = Background(
        title=EVIL,
        cohort={"patients": 60, "slides": 70, "exclusions": [{"ids": ["a"], "unit": "slides", "reason": EVIL}]},
        environment={"packages": {EVIL: "1"}},
        config=EVIL,
    )
    report = write_evaluation(evaluate(table, QUICK), tmp_path, background)
    text = report.read_text()
    parser = _Links()
    parser.feed(text)
    assert "script" not in parser.tags and text.count("&lt;script&gt;") > 5
    assert parser.sources and all(source.startswith("data:image/") for source in parser.sources)
    assert "1 slide left out" in text and (tmp_path / "figures" / "flow.csv").is_file()


@pytest.mark.parametrize("kind", ["classification", "survival", "regression"])
def test_every_file_is_there_and_the_same_the_second_time(kind: str, tmp_path: Path) -> None:
    if kind == "regression":
        target = np.random.default_rng(0).normal(size=40)
        ids = [f"p{k}" for k in range(40)]
        table = pd.DataFrame({"case_id": ids, "fold": np.arange(40) % 4, "target": target, "prediction": target * 0.9})
    else:
        table = classification_table() if kind == "classification" else survival_table()
    expected = {
        "classification": {"roc", "precision-recall", "confusion", "calibration", "forest"},
        "survival": {"kaplan-meier", "auc-over-time", "calibration", "forest"},
        "regression": {"predicted-against-true", "forest"},
    }[kind]
    found = evaluate(table, QUICK)
    for name in ("one", "two"):
        write_evaluation(found, tmp_path / name, Background(title=kind))
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert {path.stem for path in files if path.parent.name == "figures"} == expected
    assert len([path for path in files if path.parent.name == "figures"]) == 3 * len(expected)
    for path in files:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes(), path
    assert json.loads((tmp_path / "one" / "metrics.json").read_text())["task"] == kind
    assert evaluate(tmp_path / "one" / "predictions.csv", QUICK).pooled == found.pooled


def test_the_area_under_the_drawn_curve_is_the_reported_auc() -> None:
    found = evaluate(classification_table(patients=400, folds=4, rounding=6), QUICK)
    curve = roc_curve_with_band(found.predictions.rows("test"), 1, 0.95, 60, 0)
    area = np.trapezoid(curve.y, curve.x)
    assert area == pytest.approx(found.pooled["auc"].estimate, abs=0.01)
    assert (curve.lower <= curve.y + 1e-9).mean() > 0.98 and (curve.upper >= curve.y - 1e-9).mean() > 0.98


def test_predicted_survival_is_held_against_the_share_still_event_free() -> None:
    table = survival_table(patients=90).assign(event=1)  # nobody censored: Kaplan–Meier is that share
    found = calibration_at(read_predictions(table).rows("test"), 1, 10.0, 0.95)
    test = table[table["split"] == "test"].sort_values("survival_10")
    groups = [test.iloc[start : start + 18] for start in range(0, 90, 18)]
    assert found["predicted"].tolist() == pytest.approx([group["survival_10"].mean() for group in groups])
    assert found["observed"].tolist() == pytest.approx([(group["time"] > 10).mean() for group in groups])
    assert ((found["lower"] < found["observed"]) & (found["observed"] < found["upper"])).all()
    assert len(calibration_at(read_predictions(survival_table(patients=24)).rows("test"), 1, 10.0, 0.95)) == 1


def test_a_group_censored_before_the_time_has_no_estimate_there() -> None:
    table = survival_table(patients=90)
    surest = table["survival_10"] > table["survival_10"].quantile(0.79)
    table.loc[surest, ["time", "event"]] = 3.0, 0
    assert len(calibration_at(read_predictions(table).rows("test"), 1, 10.0, 0.95)) == 4


def test_subgroups_are_judged_apart() -> None:
    table = classification_table(patients=200, folds=1, rounding=6)
    north = table["case_id"].str[-1].isin(list("01234")).to_numpy()
    table["site"] = np.where(north, "north", "south")
    table.loc[north, "prob_c1"] = np.random.default_rng(0).permutation(table.loc[north, "prob_c1"])
    table["prob_c0"] = 1 - table["prob_c1"]
    groups = {g.value: g for g in judge_subgroups(evaluate(table, QUICK), ["site"])}
    assert groups["north"].patients == groups["south"].patients == 100
    assert groups["north"].metric.estimate < 0.65 < 0.85 < groups["south"].metric.estimate
    with pytest.raises(EvaluationError, match="no column 'centre'"):
        judge_subgroups(evaluate(table, QUICK), ["centre"])
    with pytest.raises(EvaluationError, match="200 values"):
        judge_subgroups(evaluate(table, QUICK), ["case_id"])


def test_mistakes_come_surest_first_and_only_mistakes() -> None:
    found = evaluate(classification_table(), QUICK)
    mistakes = most_certain_mistakes(found, thumbnail=lambda case: b"png")
    certain = [int(re.findall(r"\((\d+)%\)", mistake.said)[0]) for mistake in mistakes]
    assert certain == sorted(certain, reverse=True) and len(mistakes) == 8
    assert all(not mistake.said.startswith(mistake.truth) for mistake in mistakes)
    assert mistakes[0].data_uri == "data:image/png;base64,cG5n"
