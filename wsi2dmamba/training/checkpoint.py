"""Trained models on disk: `model.safetensors` for the weights, `model.json` for everything else.

Neither can carry code. The JSON holds the SHA-256 of the weights, so that a model put together from two trainings,
or changed by hand, is noticed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from wsi2dmamba import __version__
from wsi2dmamba.core.errors import CheckpointError
from wsi2dmamba.core.files import atomic_path, write_json
from wsi2dmamba.models.base import Aggregator
from wsi2dmamba.models.registry import build_model
from wsi2dmamba.training.preflight import FeatureDescription
from wsi2dmamba.training.tasks import Task, task_from_state

SCHEMA = "wsi2dmamba-model/2"
WEIGHTS = "model.safetensors"
DESCRIPTION = "model.json"

_PICKLES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin")


@dataclass(frozen=True)
class TrainedModel:
    """A trained aggregator with what is needed to use it on other slides.

    Attributes
    ----------
    model
        In evaluation mode, on the CPU.
    task
        Turns its logits into predictions.
    model_name, model_options
        As in the run's settings; the options are complete, so that other defaults in a later version change nothing.
    features
        Which features it was trained on.
    several_slides
        ``join`` or ``average``: how the slides of one patient are taken together.
    fold, seed
        Which training of the run it is.
    """

    model: Aggregator
    task: Task
    model_name: str
    model_options: dict[str, Any]
    features: FeatureDescription
    several_slides: str
    fold: int
    seed: int


def save_model(folder: Path, trained: TrainedModel, weights: dict[str, Tensor], details: dict[str, Any]) -> None:
    """Write the weights and their description into `folder`.

    Parameters
    ----------
    folder
        A fold's folder.
    trained
        What to describe.
    weights
        The state to keep (it may differ from `trained.model`'s own: the best epoch's, or the averaged one).
    details
        Further facts for the JSON: best epoch, losses.
    """
    with atomic_path(folder / WEIGHTS) as partial:
        save_file({name: value.contiguous() for name, value in weights.items()}, partial)
        digest = _sha256(partial)
    write_json(
        folder / DESCRIPTION,
        {
            "schema": SCHEMA,
            "created_by": f"wsi2dmamba {__version__}",
            "model": {"name": trained.model_name, "options": trained.model_options},
            "in_dim": trained.model.in_dim,
            "out_dim": trained.model.out_dim,
            "task": trained.task.state(),
            "features": trained.features.as_json(),
            "several_slides": trained.several_slides,
            "fold": trained.fold,
            "seed": trained.seed,
            "weights_sha256": digest,
            **details,
        },
    )


def load_model(folder: Path) -> TrainedModel:
    """Read a trained model.

    Parameters
    ----------
    folder
        A fold's folder, e.g. ``runs/demo/fold-0``.

    Raises
    ------
    CheckpointError
        If a file is missing, of another schema, a pickle, changed after it was written, or does not fit the model.
    """
    if folder.suffix.lower() in _PICKLES:
        raise CheckpointError(f"{folder} is a pickle, which can run code when read; give a fold folder with {WEIGHTS}")
    described = _read_description(folder)
    weights_path = folder / WEIGHTS
    if not weights_path.is_file():
        raise CheckpointError(f"{folder} has no {WEIGHTS}; train the fold again")
    if _sha256(weights_path) != described.get("weights_sha256"):
        raise CheckpointError(
            f"{weights_path} is not the file that {DESCRIPTION} describes (changed or cut short); "
            "copy the whole folder again, or train the fold again"
        )
    try:
        task = task_from_state(described["task"])
        name, options = described["model"]["name"], described["model"]["options"]
        model = build_model(name, described["in_dim"], described["out_dim"], options)
        model.load_state_dict(load_file(weights_path))
        trained = TrainedModel(
            model.eval(),
            task,
            name,
            options,
            FeatureDescription(**described["features"]),
            described["several_slides"],
            described["fold"],
            described["seed"],
        )
    except (KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{folder / DESCRIPTION} does not describe {WEIGHTS} ({reason}); train the fold again"
        ) from error
    return trained


def trained_folders(run: Path) -> list[Path]:
    """Return the fold folders of a run that hold a trained model, in order.

    Raises
    ------
    CheckpointError
        If there is none.
    """
    found = sorted(path.parent for path in run.glob(f"fold-*/{DESCRIPTION}"))
    if not found:
        raise CheckpointError(f"{run} holds no trained model (fold-*/{DESCRIPTION}); run `wsi2dmamba train` first")
    return found


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    if not path.is_file():
        raise CheckpointError(f"{folder} has no {DESCRIPTION}; it is no trained fold of this project")
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path} is no valid JSON; train the fold again") from error
    schema = described.get("schema") if isinstance(described, dict) else None
    if schema != SCHEMA:
        raise CheckpointError(f"{path} has schema {schema!r}; this version reads {SCHEMA!r}: train the fold again")
    assert isinstance(described, dict)
    return described


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return (
            hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest(file.read())
        )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
