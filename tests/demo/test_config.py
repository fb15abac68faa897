"""The demo's four runs, the YAML files that repeat them, the printed table."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from wsi2dmamba.config import load_config
from wsi2dmamba.core.errors import EvaluationError
from wsi2dmamba.demo.config import MODELS, TASKS, DemoConfig, run_config
from wsi2dmamba.demo.pipeline import STAGES, DemoReport
from wsi2dmamba.demo.summary import summary_lines
from wsi2dmamba.evaluation.bootstrap import Interval

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
FILES = {"phenotype": CONFIGS / "demo.yaml", "survival": CONFIGS / "demo-survival.yaml"}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("model", MODELS)
def test_the_yaml_in_configs_is_the_run_of_the_demo(task: str, model: str) -> None:
    found = load_config(FILES[task], [] if model == "2dmamba" else [f"model.name={model}"])
    assert found == run_config(DemoConfig(out=Path("demo-run")), task, model)


def test_both_models_learn_under_the_same_conditions() -> None:
    demo = DemoConfig(out=Path("x"), seed=3)
    for task in TASKS:
        first, second = (run_config(demo, task, model) for model in MODELS)
        assert (first.train, first.splits, first.cohort, first.task) == (
            second.train,
            second.splits,
            second.cohort,
            second.task,
        )
        assert first.train.seeds == (3,)


def test_odd_numbers_of_patients_are_refused() -> None:
    with pytest.raises(ValidationError, match="even"):
        DemoConfig(out=Path("x"), patients=11)


def test_identity_ignores_where_and_how_fast() -> None:
    assert DemoConfig(out=Path("a"), workers=1).identity() == DemoConfig(out=Path("b"), workers=2).identity()
    assert DemoConfig(out=Path("a"), seed=1).identity() != DemoConfig(out=Path("a")).identity()


def _report() -> DemoReport:
    names = [f"{task}-{model}" for task in TASKS for model in MODELS]
    keys = ("auc", "f1", "balanced_accuracy", "c_index")
    return DemoReport(
        metrics={
            name: {key: Interval(0.1 * index + 0.5, 0.3, 0.9) for key in keys} for index, name in enumerate(names)
        },
        reports={name: Path(name) / "report.html" for name in names},
        seconds=dict.fromkeys(STAGES, 10.0),
        patients=4,
        slides=5,
    )


def test_summary_puts_each_model_in_its_column() -> None:
    lines = summary_lines(_report())
    auc = next(line for line in lines if line.strip().startswith("AUC"))
    c_index = next(line for line in lines if line.strip().startswith("C-index"))
    assert auc.split()[1::2] == ["0.50", "0.60"] and c_index.split()[1::2] == ["0.70", "0.80"]
    assert lines[-1].endswith("the four stages together 40 s")
    assert any("survival-abmil/report.html" in line for line in lines)


def test_summary_says_which_run_lacks_a_metric() -> None:
    report = _report()
    del report.metrics["survival-abmil"]["c_index"]
    with pytest.raises(EvaluationError, match="survival-abmil"):
        summary_lines(report)
