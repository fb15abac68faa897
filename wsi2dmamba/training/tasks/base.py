"""The one interface of every task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from wsi2dmamba.cohort.cases import Case, Cohort, Outcome
from wsi2dmamba.training.config import TaskConfig

Columns = dict[str, NDArray[Any]]


class Task(ABC):
    """A loss and a prediction. It is made from training patients only, and saved as JSON in the checkpoint."""

    kind: ClassVar[str]
    outcome: ClassVar[Outcome]

    @classmethod
    @abstractmethod
    def from_training(cls, config: TaskConfig, cohort: Cohort, training: Sequence[Case]) -> Task:
        """Make the task; whatever it learns from data (bins, weights, scale) comes from `training` alone."""

    @classmethod
    @abstractmethod
    def from_state(cls, state: dict[str, Any]) -> Task:
        """Make the task again from `state()`."""

    @property
    @abstractmethod
    def out_dim(self) -> int:
        """Number of outputs the model must have."""

    @abstractmethod
    def loss(self, logits: Tensor, cases: Sequence[Case]) -> Tensor:
        """Return the mean loss, a scalar, of (B, out_dim) logits for B cases."""

    @abstractmethod
    def predict(self, logits: Tensor) -> Columns:
        """Return the prediction columns, (B,) float64 each, for (B, out_dim) logits."""

    @abstractmethod
    def truth(self, cases: Sequence[Case]) -> Columns:
        """Return the columns that say what is known of the cases."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return everything `from_state` needs, as JSON values; includes ``"kind"``."""

    def calibrate(self, logits: Tensor, training: Sequence[Case]) -> None:  # noqa: B027 (most tasks need nothing)
        """Learn what needs the trained model's outputs on the training cases (Cox: the baseline hazard)."""


def as_float64(tensor: Tensor) -> NDArray[np.float64]:
    """Return a detached copy as float64 on the CPU."""
    array: NDArray[np.float64] = tensor.detach().double().cpu().numpy()
    return array
