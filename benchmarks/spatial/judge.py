"""Train one system on one rule with one seed, and judge it with and without the coordinates."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch.nn.functional import cross_entropy

from benchmarks.spatial.cohort import FEATURES, draw_bags, shuffled
from benchmarks.spatial.rules import RULES
from wsi2dmamba.models.base import Aggregator, Bag
from wsi2dmamba.models.registry import build_model, model_class

LEARNING_RATES = (1e-3, 3e-3)
"""Tried by every system; the one with the better validation AUC is judged."""


@dataclass(frozen=True)
class Result:
    """One system on one rule with one seed."""

    model: str
    rule: str
    seed: int
    auc: float
    auc_shuffled: float
    parameters: int
    milliseconds: float
    megabytes: float


@dataclass(frozen=True)
class Budget:
    """What every system gets alike."""

    train: int = 80
    validation: int = 40
    test: int = 200
    epochs: int = 12
    learning_rates: tuple[float, ...] = LEARNING_RATES


def options_for(model: str, dim: int = 32) -> dict[str, Any]:
    """Return options of about equal size: one width for all, one state where there is one."""
    known = model_class(model).Options.model_fields  # type: ignore[attr-defined]
    wanted: dict[str, Any] = {"dim": dim, "dropout": 0.1, "attention_dim": dim}
    if "state" in known and model not in ("spatial-mamba", "s4mil"):
        wanted["state"] = 8
    return {key: value for key, value in wanted.items() if key in known}


def judge(model: str, rule: str, seed: int, budget: Budget, options: dict[str, Any] | None = None) -> Result:
    """Return the test AUC of a system, by the learning rate that did best on validation bags."""
    options = options_for(model) if options is None else options
    parts = (budget.train, budget.validation, budget.test)
    train, validation, test = (draw_bags(RULES[rule], count, 1000 * seed + part) for part, count in enumerate(parts))
    candidates = []
    for rate in budget.learning_rates:
        trained, milliseconds = _train(model, options, train, rate, budget.epochs, seed)
        candidates.append((_auc(trained, validation), trained, milliseconds))
    _, best, milliseconds = max(candidates, key=lambda candidate: candidate[0])
    return Result(
        model,
        rule,
        seed,
        _auc(best, test),
        _auc(best, [(shuffled(bag, k), label) for k, (bag, label) in enumerate(test)]),
        sum(p.numel() for p in best.parameters()),
        milliseconds,
        saved_megabytes(best, train[0][0]),
    )


def _train(
    name: str, options: dict[str, Any], bags: list[tuple[Bag, int]], rate: float, epochs: int, seed: int
) -> tuple[Aggregator, float]:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = build_model(name, FEATURES, 2, options).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-2)
    steps, seconds = epochs * len(bags), []
    for step, index in enumerate(np.concatenate([rng.permutation(len(bags)) for _ in range(epochs)])):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / len(bags)) * 0.5 * (1 + math.cos(math.pi * step / steps))
        bag, label = bags[index]
        start = time.perf_counter()
        model.training_label = label
        output = model(bag)
        loss = cross_entropy(output.logits.unsqueeze(0), torch.tensor([label]))
        if output.auxiliary_loss is not None:
            loss = loss + output.auxiliary_loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    return model, 1e3 * float(np.median(seconds))


def _auc(model: Aggregator, bags: list[tuple[Bag, int]]) -> float:
    model.eval()
    with torch.no_grad():
        scores = [float(torch.softmax(model(bag).logits, dim=0)[1]) for bag, _ in bags]
    return float(roc_auc_score([label for _, label in bags], scores))


def saved_megabytes(model: Aggregator, bag: Bag) -> float:
    """Return the size of what autograd keeps for the backward of one bag."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(bag)
    del output
    return sum(kept.values()) / 2**20
