"""Train one system on one rule with one seed, and judge it with and without the coordinates."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.spatial.cohort import FEATURES, Sample, draw_samples, shuffled
from benchmarks.spatial.rules import RULES, Rule
from wsi2dmamba.evaluation.concordance import c_index
from wsi2dmamba.models.base import Aggregator
from wsi2dmamba.models.registry import build_model
from wsi2dmamba.training.tasks.base import Task
from wsi2dmamba.training.tasks.classification import Classification
from wsi2dmamba.training.tasks.survival import DiscreteSurvival, quantile_edges, survival_of

WARM_UP = 0.1
"""Share of the steps over which the learning rate rises."""


@dataclass(frozen=True)
class Budget:
    """What every system gets alike.

    Attributes
    ----------
    train, validation, test, test_large
        Numbers of bags; `test_large` where the test bags are larger than those of the training.
    epochs
        Passes over the training bags, one bag per step.
    rates
        Learning rates tried.
    """

    train: int = 192
    validation: int = 40
    test: int = 100
    test_large: int = 40
    epochs: int = 2
    rates: tuple[float, ...] = (2e-3, 6e-3)


@dataclass(frozen=True)
class Result:
    """One system on one rule with one seed; scores are AUC, or the C-index for survival."""

    system: str
    rule: str
    seed: int
    score: float
    shuffled: float
    rate: float
    parameters: int
    milliseconds: float
    megabytes: float


def judge(
    system: str, model: str, options: dict[str, Any], rule_name: str, seed: int, budget: Budget, rate: float | None
) -> Result:
    """Return the test score of a system.

    Parameters
    ----------
    system
        Its name in the result.
    model, options
        What `build_model` takes.
    rule_name, seed
        The rule, and the seed of bags and weights.
    budget
        What it gets.
    rate
        The learning rate; None: that of `budget.rates` which does best on validation bags.
    """
    rule = RULES[rule_name]
    counts = (budget.train, budget.validation, budget.test_large if rule.test_side else budget.test)
    sides = (None, None, rule.test_side)
    train, validation, test = (
        draw_samples(rule, count, 1000 * seed + part, side)
        for part, (count, side) in enumerate(zip(counts, sides, strict=True))
    )
    candidates = []
    for tried in budget.rates if rate is None else (rate,):
        trained = Trained(model, options, rule, train, tried, budget.epochs, seed)
        candidates.append((trained.score(validation) if rate is None else 0.0, tried, trained))
    _, rate, best = max(candidates, key=lambda candidate: candidate[:2])
    return Result(
        system,
        rule_name,
        seed,
        best.score(test),
        best.score(shuffled(test)),
        rate,
        sum(parameter.numel() for parameter in best.model.parameters()),
        best.milliseconds,
        saved_megabytes(best.model, train[0]),
    )


class Trained:
    """A system trained on samples.

    Parameters
    ----------
    model, options
        What `build_model` takes.
    rule
        Where the samples come from.
    samples
        Training samples.
    rate
        Highest learning rate; it rises over the first `WARM_UP` of the steps and falls as a cosine.
    epochs
        Passes over the samples.
    seed
        Of weights and order.

    Attributes
    ----------
    milliseconds
        Median processor time of a step.
    """

    def __init__(
        self,
        model: str,
        options: dict[str, Any],
        rule: Rule,
        samples: Sequence[Sample],
        rate: float,
        epochs: int,
        seed: int,
    ) -> None:
        torch.manual_seed(seed)
        self.task = _task(rule, samples)
        self.model: Aggregator = build_model(model, FEATURES, self.task.out_dim, options).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), weight_decay=1e-2, fused=True)
        rng = np.random.default_rng(seed)
        order = np.concatenate([rng.permutation(len(samples)) for _ in range(epochs)])
        seconds = []
        for step, index in enumerate(order):
            warm, cosine = (step + 1) / (WARM_UP * len(order)), 0.5 * (1 + math.cos(math.pi * step / len(order)))
            start = time.process_time()
            self._step(samples[index], rate * min(1.0, warm) * cosine)
            seconds.append(time.process_time() - start)
        self.milliseconds = 1e3 * float(np.median(seconds))

    def _step(self, sample: Sample, rate: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.training_label = sample.case.label
        output = self.model(sample.bag)
        loss = self.task.loss(output.logits.unsqueeze(0), [sample.case])
        if output.auxiliary_loss is not None:
            loss = loss + output.auxiliary_loss
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def score(self, samples: Sequence[Sample]) -> float:
        """Return the AUC of class 1, or the C-index of the risk."""
        self.model.eval()
        with torch.no_grad():
            logits = torch.stack([self.model(sample.bag).logits for sample in samples])
        columns, cases = self.task.predict(logits), [sample.case for sample in samples]
        if isinstance(self.task, DiscreteSurvival):
            times, events = survival_of(cases)
            return c_index(times, events, columns["risk"])
        return float(roc_auc_score([case.label for case in cases], columns["prob_1"]))


def _task(rule: Rule, samples: Sequence[Sample]) -> Task:
    if not rule.survival:
        return Classification(("0", "1"))
    cases = [sample.case for sample in samples]
    return DiscreteSurvival(quantile_edges(cases, 4), float(survival_of(cases)[0].max()))


def saved_megabytes(model: Aggregator, sample: Sample) -> float:
    """Return the size of what autograd keeps for the backward of one bag."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(sample.bag)
    del output
    return sum(kept.values()) / 2**20
