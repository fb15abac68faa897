"""What a slide's prediction owes to each patch: how far it falls when another patch of the slide lies there instead.

In a model that mixes patches, the tokens that are pooled carry what the scan brought to them from elsewhere: attention
and contribution show where the evidence was *gathered*. Replacing a patch shows where it *came from*, whatever lies
between (occlusion: Zeiler & Fergus, ECCV 2014, section 4.2; drawing the stand-in from the slide itself keeps it
likely, unlike a blank or a mean).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from wsi2dmamba.evaluation.bootstrap import Floats
from wsi2dmamba.evaluation.targets import target_value
from wsi2dmamba.models.base import Bag
from wsi2dmamba.training.checkpoint import TrainedModel

_MOST_DRAWS = 5


def influence(trained: TrainedModel, bag: Bag, of_class: int, passes: int) -> Floats:
    """Return (N,) by how much each patch raises the target, against random patches of the slide in its place.

    Parameters
    ----------
    trained
        The model.
    bag
        The slide, float32.
    of_class
        Class whose log-odds is the target (classification only).
    passes
        Most forward passes. They are spent on several stand-ins for each patch (at most 5). A slide of more patches
        is gone through in square blocks of neighbours, which are replaced together and share their effect.
    """
    block = blocks(bag.grid.numpy(), passes)
    count = int(block.max()) + 1
    draws = min(max(passes // count, 1), _MOST_DRAWS)
    rng = np.random.default_rng(0)
    effect = np.zeros(len(bag))
    with torch.no_grad():
        whole = _target(trained, bag, of_class)
        for number in np.repeat(np.arange(count), draws):
            members = np.flatnonzero(block == number)
            features = bag.features.clone()
            features[members] = bag.features[rng.integers(0, len(bag), len(members))]
            fall = whole - _target(trained, replace(bag, features=features), of_class)
            effect[members] += fall / (draws * len(members))
    return effect


def blocks(grid: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return (N,) the number, from 0, of each cell's block: the smallest squares of which there are at most `most`."""
    side = 1
    while True:
        _, number = np.unique(grid // side, axis=0, return_inverse=True)
        if number.max() < most:
            return np.asarray(number.reshape(-1), dtype=np.int64)
        side += 1


def _target(trained: TrainedModel, bag: Bag, of_class: int) -> float:
    return float(target_value(trained, trained.model([bag]).logits.double(), of_class))
