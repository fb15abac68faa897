"""Small runs of the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fabricate import feature_cohort
from wsi2dmamba.config import RunConfig, parse_config


def run_values(folder: Path, *, task: str = "classification", cases: int = 16, **sections: Any) -> dict[str, Any]:
    """Fabricate a cohort in `folder` and return the values of a quick run on it; `sections` are merged in."""
    made = feature_cohort(folder, task="survival" if task in ("survival", "cox") else "classification", cases=cases)
    columns: dict[str, Any] = {"label_column": "label"}
    if task in ("survival", "cox"):
        columns = {"time_column": "time", "event_column": "event"}
    values: dict[str, Any] = {
        "name": "quick",
        "output": str(folder / "runs"),
        "cohort": {"csv": str(made.csv), **columns},
        "features": {"dir": str(made.features)},
        "splits": {"folds": 2, "validation_fraction": 0.25},
        "task": {"kind": task},
        "model": {"name": "mean"},
        "train": {"epochs": 3, "lr": 1e-2, "accelerator": "cpu", "workers": 1},
    }
    for section, changes in sections.items():
        values[section] = {**values[section], **changes} if isinstance(changes, dict) else changes
    return values


def quick_run(folder: Path, **sections: Any) -> RunConfig:
    """Return the settings of a quick run on a fabricated cohort."""
    return parse_config(run_values(folder, **sections))
