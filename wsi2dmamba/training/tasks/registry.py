"""Tasks by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wsi2dmamba.cohort.cases import Case, Cohort
from wsi2dmamba.core.errors import CheckpointError
from wsi2dmamba.training.config import TaskConfig
from wsi2dmamba.training.tasks.base import Task
from wsi2dmamba.training.tasks.classification import Classification
from wsi2dmamba.training.tasks.cox import Cox
from wsi2dmamba.training.tasks.ordinal import Ordinal
from wsi2dmamba.training.tasks.regression import Regression
from wsi2dmamba.training.tasks.survival import DiscreteSurvival

TASKS: dict[str, type[Task]] = {
    task.kind: task for task in (Classification, Ordinal, Regression, DiscreteSurvival, Cox)
}


def make_task(config: TaskConfig, cohort: Cohort, training: Sequence[Case]) -> Task:
    """Return the task of `config`, made from the training patients."""
    return TASKS[config.kind].from_training(config, cohort, training)


def task_from_state(state: dict[str, Any]) -> Task:
    """Return the task that a checkpoint describes.

    Raises
    ------
    CheckpointError
        If its kind is unknown or something is missing.
    """
    kind = state.get("kind")
    if kind not in TASKS:
        raise CheckpointError(f"the checkpoint's task is {kind!r}; this version knows {', '.join(TASKS)}")
    try:
        return TASKS[kind].from_state(state)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the checkpoint's description of its {kind} task is incomplete ({error})") from error
