"""Cox proportional hazards by the partial likelihood of the patients in a step (Breslow's ties)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from wsi2dmamba.cohort.cases import Case, Cohort, Outcome
from wsi2dmamba.training.config import TaskConfig
from wsi2dmamba.training.tasks.base import Columns, Task, as_float64
from wsi2dmamba.training.tasks.survival import report_times_of, survival_column, survival_of


class Cox(Task):
    """One output: the log hazard ratio.

    Parameters
    ----------
    times
        Times at which survival is reported.
    baseline
        Cumulative baseline hazard at `times` (Breslow's estimate), known once the model is trained.
    """

    kind: ClassVar[str] = "cox"
    outcome: ClassVar[Outcome] = "survival"

    def __init__(self, times: Sequence[float], baseline: Sequence[float] | None = None) -> None:
        self.times = tuple(float(time) for time in times)
        self.baseline = None if baseline is None else tuple(float(value) for value in baseline)

    @classmethod
    def from_training(cls, config: TaskConfig, cohort: Cohort, training: Sequence[Case]) -> Cox:
        return cls(report_times_of(cohort))

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Cox:
        return cls(state["times"], state["baseline"])

    @property
    def out_dim(self) -> int:
        return 1

    def loss(self, logits: Tensor, cases: Sequence[Case]) -> Tensor:
        """Return the negative log partial likelihood per event; 0 (with a gradient of 0) without an event."""
        times, events = (torch.from_numpy(column).to(logits.device) for column in survival_of(cases))
        risks = logits[:, 0].float()
        if not events.any():
            return (risks * 0).sum()
        at_risk = times[None, :] >= times[:, None]
        log_sums = torch.logsumexp(risks[None, :].masked_fill(~at_risk, -torch.inf), dim=1)
        return (log_sums - risks)[events].mean()

    def calibrate(self, logits: Tensor, training: Sequence[Case]) -> None:
        """Estimate the cumulative baseline hazard from the training patients."""
        times, events = survival_of(training)
        ratios = np.exp(as_float64(logits)[:, 0])
        event_times = np.unique(times[events])
        steps = [np.sum(events & (times == at)) / np.sum(ratios[times >= at]) for at in event_times]
        cumulative = np.concatenate([[0.0], np.cumsum(steps)])
        self.baseline = tuple(float(cumulative[np.searchsorted(event_times, at, side="right")]) for at in self.times)

    def predict(self, logits: Tensor) -> Columns:
        risks = as_float64(logits)[:, 0]
        columns: Columns = {"risk": risks}
        for time, hazard in zip(self.times, self.baseline or (), strict=False):
            columns[survival_column(time)] = np.exp(-hazard * np.exp(risks))
        return columns

    def truth(self, cases: Sequence[Case]) -> Columns:
        times, events = survival_of(cases)
        return {"time": times, "event": events.astype(np.int64)}

    def state(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "times": list(self.times),
            "baseline": None if self.baseline is None else list(self.baseline),
        }
