"""Bags of noisy features from a rule, and the same bags with their coordinates shuffled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from benchmarks.spatial.rules import KIND_COUNT, Rule
from wsi2dmamba.models.base import Bag

FEATURES = 64


def draw_bags(rule: Rule, count: int, seed: int, features: int = FEATURES) -> list[tuple[Bag, int]]:
    """Return bags with labels 0 and 1 by turns.

    The kinds' mean features are the same for every seed of a rule, as an encoder's would be.
    """
    means = np.random.default_rng(12345).normal(size=(KIND_COUNT, features)) / np.sqrt(features) * 4
    rng = np.random.default_rng(seed)
    bags = []
    for index in range(count):
        label = index % 2
        side = int(rng.integers(rule.side[0], rule.side[1] + 1))
        kinds = rule.draw(rng, side, label)
        grid = np.argwhere(kinds >= 0)
        mean = means[kinds[grid[:, 0], grid[:, 1]]]
        noisy = mean + rule.noise * rng.normal(size=mean.shape) * 4 / np.sqrt(features) / np.sqrt(2)
        bags.append((Bag(torch.tensor(noisy, dtype=torch.float32), torch.tensor(grid), kinds.shape), label))
    return bags


def shuffled(bag: Bag, seed: int = 0) -> Bag:
    """Return the bag with its patches' coordinates permuted: composition and outline stay, arrangement goes."""
    order = torch.randperm(len(bag), generator=torch.Generator().manual_seed(seed))
    return replace(bag, grid=bag.grid[order])
