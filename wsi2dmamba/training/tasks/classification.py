"""Binary and multi-class classification by cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsi2dmamba.cohort.cases import Case, Cohort, Outcome
from wsi2dmamba.core.errors import ConfigError
from wsi2dmamba.training.config import TaskConfig
from wsi2dmamba.training.tasks.base import Columns, Task, as_float64


class Classification(Task):
    """One logit per class.

    Parameters
    ----------
    class_names
        In the order of the logits.
    weights
        Weight of each class in the loss, or None.
    label_smoothing
        Share of the target spread over all classes.
    """

    kind: ClassVar[str] = "classification"
    outcome: ClassVar[Outcome] = "label"

    def __init__(
        self, class_names: Sequence[str], weights: Sequence[float] | None = None, label_smoothing: float = 0.0
    ) -> None:
        self.class_names = tuple(class_names)
        self.weights = None if weights is None else tuple(float(weight) for weight in weights)
        self.label_smoothing = label_smoothing

    @classmethod
    def from_training(cls, config: TaskConfig, cohort: Cohort, training: Sequence[Case]) -> Classification:
        return cls(cohort.class_names, class_weights(config, cohort, training), config.label_smoothing)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Classification:
        return cls(state["class_names"], state["weights"], state["label_smoothing"])

    @property
    def out_dim(self) -> int:
        return len(self.class_names)

    def loss(self, logits: Tensor, cases: Sequence[Case]) -> Tensor:
        labels = torch.tensor([case.label for case in cases], device=logits.device)
        weights = None if self.weights is None else torch.tensor(self.weights, device=logits.device)
        # Divided by the number of cases: torch's weighted mean divides by the weights, which at one case per step
        # cancels them altogether.
        total = F.cross_entropy(
            logits.float(), labels, weight=weights, label_smoothing=self.label_smoothing, reduction="sum"
        )
        return total / len(cases)

    def predict(self, logits: Tensor) -> Columns:
        probabilities = as_float64(torch.softmax(logits.detach().double(), dim=1))
        return {f"prob_{name}": probabilities[:, index] for index, name in enumerate(self.class_names)}

    def truth(self, cases: Sequence[Case]) -> Columns:
        return {"label": np.array([self.class_names[case.label or 0] for case in cases], dtype=object)}

    def state(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "class_names": list(self.class_names),
            "weights": None if self.weights is None else list(self.weights),
            "label_smoothing": self.label_smoothing,
        }


def class_weights(config: TaskConfig, cohort: Cohort, training: Sequence[Case]) -> list[float] | None:
    """Return the weight of each class, or None.

    ``balanced`` is n / (K · n_k), counted in training; a class that training lacks weighs 1.

    Raises
    ------
    ConfigError
        If the given weights are not one positive number per class.
    """
    names = cohort.class_names
    if config.class_weights == "none":
        return None
    if config.class_weights == "balanced":
        counts = np.bincount([case.label or 0 for case in training], minlength=len(names))
        return [len(training) / (len(names) * count) if count else 1.0 for count in counts.tolist()]
    weights = [float(weight) for weight in config.class_weights]
    if len(weights) != len(names) or min(weights) <= 0:
        raise ConfigError(
            f"task.class_weights has {len(weights)} numbers; {len(names)} positive ones are needed ({', '.join(names)})"
        )
    return weights
