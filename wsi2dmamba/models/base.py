"""The one interface of every aggregator: bags in, logits and attention out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Bag:
    """The patches of one slide.

    Attributes
    ----------
    features
        (N, D_in) patch features.
    grid
        (N, 2) int64, (row, col) of each patch on the slide's lattice.
    grid_shape
        (rows, cols) of the slide's own bounding box.
    """

    features: Tensor
    grid: Tensor
    grid_shape: tuple[int, int]

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Bag:
        """Return the bag on `device`, its features in `dtype`."""
        return replace(self, features=self.features.to(device=device, dtype=dtype), grid=self.grid.to(device=device))

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True)
class SlideOutput:
    """What an aggregator says of one case.

    Attributes
    ----------
    logits
        (out_dim,) class logits, hazard logits, a Cox risk or a regression value: the task decides which.
    attention
        (N,) non-negative weights of the patches of all the case's bags in order, summing to one.
    patch_logits
        (N, out_dim) what each patch adds to `logits` (they sum to it up to the head's bias), where the head allows
        such a reading; else None.
    auxiliary_loss
        A loss of the aggregator's own (CLAM's instance loss), to be added in training; else None.
    """

    logits: Tensor
    attention: Tensor
    patch_logits: Tensor | None = None
    auxiliary_loss: Tensor | None = None


class Aggregator(nn.Module, ABC):
    """Base of the slide models.

    A case is one bag, or several when a patient has several slides: each bag is encoded on its own grid, and the
    tokens of all are pooled together.

    Parameters
    ----------
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs that the task asks for.

    Attributes
    ----------
    training_label
        Class of the case that the next forward is given, set by the training loop where the task has classes; only
        models with a loss of their own on patches (CLAM) look at it.
    """

    training_label: int | None = None

    def __init__(self, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.in_dim = in_dim
        self.out_dim = out_dim

    @abstractmethod
    def encode(self, bag: Bag) -> Tensor:
        """Return (N, width) tokens of one bag's patches, in their order."""

    @abstractmethod
    def pool(self, tokens: Tensor) -> SlideOutput:
        """Return the output for the (N, width) tokens of all bags of a case."""

    def forward(self, case: Bag | Sequence[Bag]) -> SlideOutput:
        """Return the output for one case.

        Parameters
        ----------
        case
            A bag, or the bags of all the case's slides.
        """
        bags = [case] if isinstance(case, Bag) else list(case)
        return self.pool(torch.cat([self.encode(bag) for bag in bags]))
