"""The order in which samples come: a pure function of (seed, epoch), so that a run can go on at any step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from wsi2dmamba.models.base import Bag
from wsi2dmamba.training.data import BagStore, Sample

Batch = list[tuple[Sample, list[Bag]]]


class SampleLoader:
    """The batches of all epochs in one row; Lightning takes it as a dataloader.

    Parameters
    ----------
    samples
        What to go through.
    store
        Where their bags come from.
    epochs
        How many times to go through them.
    batch_size
        Samples per batch; the last batch of an epoch may be smaller.
    seed
        Of the order.
    weights
        Relative frequency of each sample, drawn with replacement; None shows each once per epoch.
    rank, world
        With several devices: this one's number and how many there are. Each sees its share of every epoch.

    Attributes
    ----------
    position
        Batches already done; iteration starts there.
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
        self.samples = list(samples)
        self.store = store
        self.epochs = epochs
        self.batch_size = batch_size
        self.seed = seed
        self.weights = weights
        self.rank = rank
        self.world = world
        self.position = 0

    @property
    def batches_per_epoch(self) -> int:
        """Batches that this rank takes per epoch."""
        per_rank = -(-len(self.samples) // self.world)
        return -(-per_rank // self.batch_size)

    def __len__(self) -> int:
        """Return the number of batches that are left."""
        return self.epochs * self.batches_per_epoch - self.position

    def order(self, epoch: int) -> list[int]:
        """Return the indices of the samples in the order of an epoch, for this rank."""
        count = len(self.samples)
        rng = np.random.default_rng([self.seed, epoch])
        if self.weights is None:
            indices = rng.permutation(count)
        else:
            shares = np.asarray(self.weights, dtype=np.float64)
            indices = rng.choice(count, size=count, p=shares / shares.sum())
        if self.world > 1:
            # Every rank must take equally many steps: the last round is filled from the start of the order.
            indices = np.resize(indices, -(-count // self.world) * self.world)[self.rank :: self.world]
        return [int(index) for index in indices]

    def __iter__(self) -> Iterator[Batch]:
        # One thread reads the next batch while the current one is learnt; none is needed for what is in memory.
        with ThreadPoolExecutor(1, thread_name_prefix="bags") as reader:
            coming: Future[Batch] | None = None
            indices = self._indices()
            current = next(indices, None)
            while current is not None:
                following = next(indices, None)
                batch = coming.result() if coming is not None else self._load(current)
                coming = None
                if following is not None and not self._in_memory(following):
                    coming = reader.submit(self._load, following)
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

    def _load(self, indices: list[int]) -> Batch:
        return [(self.samples[index], self.store.bags(self.samples[index])) for index in indices]

    def _in_memory(self, indices: list[int]) -> bool:
        return all(self.store.is_kept(slide) for index in indices for slide in self.samples[index].slide_ids)


def balancing_weights(samples: Sequence[Sample]) -> list[float]:
    """Return weights that draw every class (or event and censored) equally often."""
    groups = [(sample.case.label, sample.case.event) for sample in samples]
    return [1.0 / groups.count(group) for group in groups]
