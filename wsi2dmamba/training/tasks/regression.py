"""A number per patient, by squared error on the standardised target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from wsi2dmamba.cohort.cases import Case, Cohort, Outcome
from wsi2dmamba.training.config import TaskConfig
from wsi2dmamba.training.tasks.base import Columns, Task, as_float64


class Regression(Task):
    """One output: the target in standard deviations of the training patients.

    Parameters
    ----------
    mean, scale
        Mean and standard deviation of the target in training, in the target's unit.
    """

    kind: ClassVar[str] = "regression"
    outcome: ClassVar[Outcome] = "target"

    def __init__(self, mean: float, scale: float) -> None:
        self.mean = float(mean)
        self.scale = float(scale)

    @classmethod
    def from_training(cls, config: TaskConfig, cohort: Cohort, training: Sequence[Case]) -> Regression:
        targets = np.array([case.target for case in training], dtype=np.float64)
        return cls(float(targets.mean()), float(targets.std()) or 1.0)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Regression:
        return cls(state["mean"], state["scale"])

    @property
    def out_dim(self) -> int:
        return 1

    def loss(self, logits: Tensor, cases: Sequence[Case]) -> Tensor:
        targets = torch.tensor([case.target for case in cases], dtype=torch.float64)
        wanted = ((targets - self.mean) / self.scale).to(logits.device, torch.float32)
        return F.mse_loss(logits[:, 0].float(), wanted)

    def predict(self, logits: Tensor) -> Columns:
        return {"prediction": as_float64(logits)[:, 0] * self.scale + self.mean}

    def truth(self, cases: Sequence[Case]) -> Columns:
        return {"target": np.array([case.target for case in cases], dtype=np.float64)}

    def state(self) -> dict[str, Any]:
        return {"kind": self.kind, "mean": self.mean, "scale": self.scale}
