"""Settings of the demo, and of the four runs it trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from wsi2dmamba.config import RunConfig, parse_config
from wsi2dmamba.core.validation import Settings

TASKS = ("phenotype", "survival")
"""What is learnt, in the order of the printed table."""

MODELS = ("2dmamba", "abmil")
"""The model under test, and the baseline that ignores position."""

_MODEL_OPTIONS: dict[str, dict[str, Any]] = {
    "2dmamba": {"dim": 64, "state": 8, "corners": 4, "attention_dim": 64},
    "abmil": {"dim": 64, "attention_dim": 64},
}
_SHARED_OPTIONS: dict[str, Any] = {"dropout": 0.1, "standardise": "slide"}

_EPOCHS = {"phenotype": 12, "survival": 20}


class DemoConfig(Settings):
    """What the demo makes, and where.

    Attributes
    ----------
    out
        Folder of everything.
    tiles
        Folder of real patches, one subfolder per class; None: draw them.
    roles
        Which class plays what, e.g. ``"tumour=adenocarcinoma,infiltrate=normal,stroma=squamous"``.
    seed
        Of the cohort, the drawing and the training.
    patients
        Number of patients, even: they come in pairs.
    workers
        Processes; None: one per processor.
    drawn_per_kind
        Patches drawn of every kind of tissue.
    side
        Lattice cells along each side of a slide.
    folds
        Folds of the cross-validation.
    epochs
        Passes over the training patients; None: as many as each task needs.
    resamples
        Bootstrap resamples of the patients.
    """

    out: Path
    tiles: Path | None = None
    roles: str | None = None
    seed: int = Field(0, ge=0)
    patients: int = Field(96, ge=8)
    workers: int | None = Field(None, ge=1)
    drawn_per_kind: int = Field(48, ge=1)
    side: int = Field(14, ge=8, le=64)
    folds: int = Field(4, ge=2)
    epochs: int | None = Field(None, ge=1)
    resamples: int = Field(1000, ge=20)

    @field_validator("patients")
    @classmethod
    def _pairs(cls, value: int) -> int:
        if value % 2:
            raise ValueError(f"patients come in pairs, so their number must be even, not {value}")
        return value

    def identity(self) -> dict[str, Any]:
        """Return what decides the results: a finished part made with another identity is not gone on with."""
        values = self.model_dump(mode="json", exclude={"out", "workers"})
        return {**values, "tiles": str(self.tiles.absolute()) if self.tiles else None}


def run_name(task: str, model: str) -> str:
    """Return the name of the run that trains `model` on `task`."""
    return f"{task}-{model}"


def run_config(demo: DemoConfig, task: str, model: str) -> RunConfig:
    """Return the settings of one of the demo's runs.

    Parameters
    ----------
    demo
        The demo's settings.
    task
        One of `TASKS`.
    model
        One of `MODELS`.
    """
    outcome: dict[str, Any] = (
        {"label_column": "phenotype"} if task == "phenotype" else {"time_column": "months", "event_column": "event"}
    )
    return parse_config(
        {
            "name": run_name(task, model),
            "output": str(demo.out / "runs"),
            "cohort": {"csv": str(demo.out / "cohort.csv"), **outcome},
            "features": {"dir": str(demo.out / "features" / "texture")},
            "splits": {"kind": "column", "column": "fold", "validation_fraction": 0.1, "seed": demo.seed},
            "task": {"kind": "classification"} if task == "phenotype" else {"kind": "survival", "bins": 4},
            "model": {"name": model, **_MODEL_OPTIONS[model], **_SHARED_OPTIONS},
            "train": {
                "epochs": demo.epochs or _EPOCHS[task],
                "lr": 2e-3,
                "weight_decay": 1e-4,
                "warmup_epochs": 1.0,
                "clip_norm": 1.0,
                "choose": "last",
                "flips": True,
                "seeds": [demo.seed],
                "accelerator": "cpu",
            },
            "eval": {"resamples": demo.resamples},
        },
        f"demo ({run_name(task, model)})",
    )
