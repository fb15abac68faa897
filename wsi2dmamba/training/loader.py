"""The order in which items come: a pure function of (seed, epoch), so that a run can go on at any step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import numpy as np

from wsi2dmamba.models.base import Bag
from wsi2dmamba.training.data import BagStore, Sample

Batch = list[tuple[Sample, list[Bag]]]
BatchT = TypeVar("BatchT")


class EpochLoader(ABC, Generic[BatchT]):
    """Batches of numbered items, all epochs in one row; Lightning takes it as a dataloader.

    Parameters
    ----------
    count
        Number of items.
    epochs
        How many times to go through them.
    batch_size
        Items per batch; the last batch of an epoch may be smaller.
    seed
        Of the order.
    weights
        Relative frequency of each item, drawn with replacement; None shows each once per epoch.
    rank, world
        With several devices: this one's number and how many there are. Each sees its share of every epoch.

    Attributes
    ----------
    position
        Batches already done; iteration starts there.
    """

    def __init__(
        self,
        count: int,
        *,
        epochs: int,
        batch_size: int = 1,
        seed: int = 0,
        weights: Sequence[float] | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.count = count
        self.epochs = epochs
        self.batch_size = batch_size
        self.seed = seed
        self.weights = weights
        self.rank = rank
        self.world = world
        self.position = 0

    @abstractmethod
    def load(self, indices: list[int]) -> BatchT:
        """Return the batch of these items."""

    @abstractmethod
    def in_memory(self, indices: list[int]) -> bool:
        """Whether these items need no reading."""

    @property
    def batches_per_epoch(self) -> int:
        """Batches that this rank takes per epoch."""
        per_rank = -(-self.count // self.world)
        return -(-per_rank // self.batch_size)

    def __len__(self) -> int:
        """Return the number of batches that are left."""
        return self.epochs * self.batches_per_epoch - self.position

    def order(self, epoch: int) -> list[int]:
        """Return the indices of the items in the order of an epoch, for this rank."""
        rng = np.random.default_rng([self.seed, epoch])
        if self.weights is None:
            indices = rng.permutation(self.count)
        else:
            shares = np.asarray(self.weights, dtype=np.float64)
            indices = rng.choice(self.count, size=self.count, p=shares / shares.sum())
        if self.world > 1:
            # Every rank must take equally many steps: the last round is filled from the start of the order.
            indices = np.resize(indices, -(-self.count // self.world) * self.world)[self.rank :: self.world]
        return [int(index) for index in indices]

    def __iter__(self) -> Iterator[BatchT]:
        # One thread reads the next batch while the current one is learnt; none is needed for what is in memory.
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as reader:
            coming: Future[BatchT] | None = None
            indices = self._indices()
            current = next(indices, None)
            while current is not None:
                following = next(indices, None)
                batch = coming.result() if coming is not None else self.load(current)
                coming = None
                if following is not None and not self.in_memory(following):
                    coming = reader.submit(self.load, following)
                yield batch
                current = following

    def _indices(self) -> Iterator[list[int]]:
        first_epoch, done = divmod(self.position, self.batches_per_epoch)
        for epoch in range(first_epoch, self.epochs):
            order = self.order(epoch)
            starts = range(0, len(order), self.batch_size)
            for start in list(starts)[done:]:
                yield order[start : start + self.batch_size]
            done = 0


class SampleLoader(EpochLoader[Batch]):
    """The bags of samples.

    Parameters
    ----------
    samples
        What to go through.
    store
        Where their bags come from.
    epochs, batch_size, seed, weights, rank, world
        See `EpochLoader`.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        store: BagStore,
        *,
        epochs: int,
        batch_size: int = 1,
        seed: int = 0,
        weights: Sequence[float] | None = None,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        super().__init__(
            len(samples), epochs=epochs, batch_size=batch_size, seed=seed, weights=weights, rank=rank, world=world
        )
        self.samples = list(samples)
        self.store = store

    def load(self, indices: list[int]) -> Batch:
        """Return samples with their bags."""
        return [(self.samples[index], self.store.bags(self.samples[index])) for index in indices]

    def in_memory(self, indices: list[int]) -> bool:
        """Whether the store keeps all bags of these samples."""
        return all(self.store.is_kept(slide) for index in indices for slide in self.samples[index].slide_ids)


def balancing_weights(samples: Sequence[Sample]) -> list[float]:
    """Return weights that draw every class (or event and censored) equally often."""
    groups = [(sample.case.label, sample.case.event) for sample in samples]
    return [1.0 / groups.count(group) for group in groups]
