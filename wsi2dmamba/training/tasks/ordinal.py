"""Ordered classes: conditional ordinal regression (CORN; Shi, Cao, Raschka, 2023, arXiv 2111.08851)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsi2dmamba.cohort.cases import Case, Cohort, Outcome
from wsi2dmamba.training.config import TaskConfig
from wsi2dmamba.training.tasks.base import Columns, Task
from wsi2dmamba.training.tasks.classification import class_weights


class Ordinal(Task):
    """K − 1 logits; logit k says P(y > k | y ≥ k), so P(y > k) is a product and never rises with k.

    Parameters
    ----------
    class_names
        From the lowest class to the highest.
    weights
        Weight of each class in the loss, or None.
    """

    kind: ClassVar[str] = "ordinal"
    outcome: ClassVar[Outcome] = "label"

    def __init__(self, class_names: Sequence[str], weights: Sequence[float] | None = None) -> None:
        self.class_names = tuple(class_names)
        self.weights = None if weights is None else tuple(float(weight) for weight in weights)

    @classmethod
    def from_training(cls, config: TaskConfig, cohort: Cohort, training: Sequence[Case]) -> Ordinal:
        return cls(cohort.class_names, class_weights(config, cohort, training))

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Ordinal:
        return cls(state["class_names"], state["weights"])

    @property
    def out_dim(self) -> int:
        return len(self.class_names) - 1

    def loss(self, logits: Tensor, cases: Sequence[Case]) -> Tensor:
        labels = torch.tensor([case.label for case in cases], device=logits.device)
        steps = torch.arange(self.out_dim, device=logits.device)
        asked = (labels[:, None] >= steps).float()  # the condition of each conditional probability
        passed = (labels[:, None] > steps).float()
        each = F.binary_cross_entropy_with_logits(logits.float(), passed, reduction="none") * asked
        if self.weights is not None:
            each = each * torch.tensor(self.weights, device=logits.device)[labels][:, None]
        return each.sum() / len(cases)

    def predict(self, logits: Tensor) -> Columns:
        above = torch.cumprod(torch.sigmoid(logits.detach().double()), dim=1)
        ones, zeros = torch.ones_like(above[:, :1]), torch.zeros_like(above[:, :1])
        at_least = torch.cat([ones, above, zeros], dim=1)
        probabilities = (at_least[:, :-1] - at_least[:, 1:]).cpu().numpy()
        return {f"prob_{name}": probabilities[:, index] for index, name in enumerate(self.class_names)}

    def truth(self, cases: Sequence[Case]) -> Columns:
        return {"label": np.array([self.class_names[case.label or 0] for case in cases], dtype=object)}

    def state(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "class_names": list(self.class_names),
            "weights": None if self.weights is None else list(self.weights),
        }
