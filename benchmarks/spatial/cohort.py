"""Bags of noisy features from a rule, with their outcomes, and the same bags with their coordinates shuffled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from benchmarks.spatial.rules import Rule
from benchmarks.spatial.tissue import KIND_COUNT
from wsi2dmamba.cohort.table import Case
from wsi2dmamba.models.base import Bag

FEATURES = 32
HAZARD_SPAN = 8.0
"""Log hazard ratio of the nearest against the farthest nests of the survival rule."""
LAST_VISIT = 8.0
"""Follow-up ends uniformly in [0, LAST_VISIT] median survival times at mid closeness; what comes later is censored."""


@dataclass(frozen=True)
class Sample:
    """A bag and the patient it comes from, whose outcome is a class or a survival time."""

    bag: Bag
    case: Case


def draw_samples(rule: Rule, count: int, seed: int, side: tuple[int, int] | None = None) -> list[Sample]:
    """Return samples, of classes 0 and 1 by turns or with survival times.

    The kinds' mean features are the same for every seed, as an encoder's would be.
    """
    means = np.random.default_rng(12345).normal(size=(KIND_COUNT, FEATURES))
    rng = np.random.default_rng(seed)
    smallest, largest = side or rule.side
    samples = []
    for index in range(count):
        outcome = float(rng.random()) if rule.survival else index % 2
        kinds = rule.draw(rng, int(rng.integers(smallest, largest + 1)), outcome)
        grid = np.argwhere(kinds >= 0)
        features = means[kinds[grid[:, 0], grid[:, 1]]] + rule.noise * rng.normal(size=(len(grid), FEATURES))
        bag = Bag(torch.tensor(features, dtype=torch.float32), torch.tensor(grid), kinds.shape)
        samples.append(Sample(bag, _survival_case(rng, index, outcome) if rule.survival else _case(index, index % 2)))
    return samples


def shuffled(samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples with their patches' coordinates permuted: composition and outline stay, arrangement goes."""
    moved = []
    for seed, sample in enumerate(samples):
        order = torch.randperm(len(sample.bag), generator=torch.Generator().manual_seed(seed))
        moved.append(replace(sample, bag=replace(sample.bag, grid=sample.bag.grid[order])))
    return moved


def _case(index: int, label: int) -> Case:
    return Case(f"case-{index}", (f"slide-{index}",), label=label)


def _survival_case(rng: np.random.Generator, index: int, closeness: float) -> Case:
    """Weibull times of shape 2 whose log hazard is linear in closeness, and nothing else; censoring is independent."""
    log_hazard = HAZARD_SPAN * (closeness - 0.5)
    time = float(np.sqrt(rng.exponential() / np.log(2) * np.exp(-log_hazard)))
    censored = float(rng.uniform(0, LAST_VISIT))
    event = time <= censored
    return Case(f"case-{index}", (f"slide-{index}",), time=time if event else censored, event=event)
