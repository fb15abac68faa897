"""Discrete-time survival: hazards of a few intervals, by the negative log-likelihood of censored data.

Interval k covers the times [edge k − 1, edge k), the last one everything after. With hazards h_k = σ(logit_k) and
S_k = Π_{j ≤ k} (1 − h_j), an event in interval k has likelihood S_{k−1}·h_k and a censored patient S_k (the convention
of Zadeh and Schmid, 2020, and of the published slide models).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from wsi2dmamba.cohort.cases import Case, Cohort, Outcome
from wsi2dmamba.training.config import TaskConfig
from wsi2dmamba.training.tasks.base import Columns, Task


class DiscreteSurvival(Task):
    """One hazard logit per interval.

    Parameters
    ----------
    edges
        (bins − 1,) inner edges of the intervals, increasing, in the table's unit of time.
    last_time
        Longest follow-up in training, where the last interval ends.
    report_times
        Times at which survival is reported; between edges it is interpolated linearly.
    alpha
        Extra weight of patients with an event: the loss is (1 − α)·all + α·events.
    """

    kind: ClassVar[str] = "survival"
    outcome: ClassVar[Outcome] = "survival"

    def __init__(
        self, edges: Sequence[float], last_time: float, report_times: Sequence[float] = (), alpha: float = 0.0
    ) -> None:
        self.edges = tuple(float(edge) for edge in edges)
        self.last_time = float(last_time)
        self.report_times = tuple(float(time) for time in report_times)
        self.alpha = alpha

    @classmethod
    def from_training(cls, config: TaskConfig, cohort: Cohort, training: Sequence[Case]) -> DiscreteSurvival:
        times, _ = survival_of(training)
        edges = quantile_edges(training, config.bins)
        return cls(edges, float(times.max()), report_times_of(cohort), config.alpha)

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> DiscreteSurvival:
        return cls(state["edges"], state["last_time"], state["report_times"], state["alpha"])

    @property
    def out_dim(self) -> int:
        return len(self.edges) + 1

    def bins(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the interval of each time."""
        found: NDArray[np.int64] = np.searchsorted(np.asarray(self.edges), times, side="right").astype(np.int64)
        return found

    def loss(self, logits: Tensor, cases: Sequence[Case]) -> Tensor:
        times, events = survival_of(cases)
        bins = torch.from_numpy(self.bins(times)).to(logits.device)
        event = torch.from_numpy(events.astype(np.float32)).to(logits.device)
        # log(1 − σ(x)) = logσ(−x): stable where hazards come near 0 or 1.
        log_survival = torch.cumsum(F.logsigmoid(-logits.float()), dim=1)
        log_survival = torch.cat([torch.zeros_like(log_survival[:, :1]), log_survival], dim=1)
        survived_before = log_survival.gather(1, bins[:, None])[:, 0]
        survived_through = log_survival.gather(1, bins[:, None] + 1)[:, 0]
        log_hazard = F.logsigmoid(logits.float()).gather(1, bins[:, None])[:, 0]
        seen = -event * (survived_before + log_hazard)
        censored = -(1 - event) * survived_through
        return (seen + (1 - self.alpha) * censored).mean()

    def predict(self, logits: Tensor) -> Columns:
        survival = torch.cumprod(torch.sigmoid(-logits.detach().double()), dim=1).cpu().numpy()
        columns: Columns = {"risk": -survival.sum(axis=1)}
        ends = self.edges if self.edges and self.last_time <= self.edges[-1] else (*self.edges, self.last_time)
        knots = np.array([0.0, *ends])
        curves = np.concatenate([np.ones((len(survival), 1)), survival[:, : len(ends)]], axis=1)
        for time in self.report_times:
            columns[survival_column(time)] = np.array([np.interp(time, knots, curve) for curve in curves])
        return columns

    def truth(self, cases: Sequence[Case]) -> Columns:
        times, events = survival_of(cases)
        return {"time": times, "event": events.astype(np.int64)}

    def state(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "edges": list(self.edges),
            "last_time": self.last_time,
            "report_times": list(self.report_times),
            "alpha": self.alpha,
        }


def survival_of(cases: Sequence[Case]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Return (times, events), (B,) each."""
    times = np.array([case.time for case in cases], dtype=np.float64)
    events = np.array([bool(case.event) for case in cases])
    return times, events


def quantile_edges(training: Sequence[Case], bins: int) -> list[float]:
    """Return the inner edges that put equally many events of `training` in each interval.

    Tied times can make edges fall together; equal ones are kept once, so there may be fewer intervals than asked for,
    and an edge at time 0 (nothing lies before it) is dropped.
    """
    times, events = survival_of(training)
    inner = np.quantile(times[events], np.linspace(0, 1, bins + 1)[1:-1])
    return [float(edge) for edge in np.unique(inner) if edge > 0]


def report_times_of(cohort: Cohort) -> list[float]:
    """Return the quartiles of all event times: the same in every fold, so that pooled tables have no gaps.

    They say when predictions are reported, and take no part in learning.
    """
    times, events = survival_of(cohort.cases)
    return [float(time) for time in np.unique(np.quantile(times[events], (0.25, 0.5, 0.75))) if time > 0]


def survival_column(time: float) -> str:
    """Return the name of the column that holds S(time)."""
    return f"survival_{time:.6g}"
