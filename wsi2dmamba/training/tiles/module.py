"""One training step on a batch of images, and a trained network on many."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from wsi2dmamba.models.vision import ImageBackbone, InputFormat
from wsi2dmamba.training.loader import EpochLoader
from wsi2dmamba.training.module import ScheduledModule
from wsi2dmamba.training.tiles.augment import augment_images
from wsi2dmamba.training.tiles.config import TileRun
from wsi2dmamba.training.tiles.pixels import Pixels

TileBatch = tuple[Tensor, Tensor]
"""(N, px, px, 3) uint8 images and (N,) int64 classes."""


class TileLoader(EpochLoader[TileBatch]):
    """Batches of images with their classes.

    Parameters
    ----------
    pixels
        Where images come from.
    numbers, labels
        Which images, and the class of each.
    epochs, batch_size, seed, weights
        See `EpochLoader`.
    """

    def __init__(
        self,
        pixels: Pixels,
        numbers: Sequence[int],
        labels: Sequence[int],
        *,
        epochs: int,
        batch_size: int,
        seed: int,
        weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__(len(numbers), epochs=epochs, batch_size=batch_size, seed=seed, weights=weights)
        self.pixels = pixels
        self.numbers = list(numbers)
        self.labels = torch.tensor(labels)

    def load(self, indices: list[int]) -> TileBatch:
        """Return images and classes."""
        return self.pixels.batch([self.numbers[index] for index in indices]), self.labels[indices]

    def in_memory(self, indices: list[int]) -> bool:
        """Whether none of these images must be decoded."""
        return all(self.pixels.is_kept(self.numbers[index]) for index in indices)


class TileModule(ScheduledModule):
    """A backbone that learns to tell classes of images.

    Parameters
    ----------
    model
        With a head.
    images
        How images are normalised.
    run
        Augmentation, label smoothing and learning.
    total_batches, batches_per_epoch, seed
        See `ScheduledModule`.
    """

    model: ImageBackbone

    def __init__(
        self,
        model: ImageBackbone,
        images: InputFormat,
        run: TileRun,
        *,
        total_batches: int,
        batches_per_epoch: int,
        seed: int,
    ) -> None:
        super().__init__(model, run.train, total_batches=total_batches, batches_per_epoch=batches_per_epoch, seed=seed)
        self.images = images
        self.run = run

    def training_step(self, batch: TileBatch, batch_idx: int) -> Tensor:
        """Return the mean cross-entropy of a batch."""
        self.seed_step()
        pixels, labels = batch
        changed = augment_images(to_unit(pixels), self.run.augment)
        logits = self.model(normalise(changed, self.images))
        return F.cross_entropy(logits.float(), labels, label_smoothing=self.run.label_smoothing)


def to_unit(pixels: Tensor) -> Tensor:
    """Return (N, px, px, 3) uint8 as (N, 3, px, px) float32 on a scale of 0 to 1, channels-last in memory."""
    return pixels.permute(0, 3, 1, 2).float() / 255


def normalise(images: Tensor, expected: InputFormat) -> Tensor:
    """Return (N, 3, px, px) images on a scale of 0 to 1 as the network wants them."""
    mean, std = (images.new_tensor(values).view(1, 3, 1, 1) for values in (expected.mean, expected.std))
    return (images - mean) / std


@torch.no_grad()
def logits_of_images(
    model: ImageBackbone, images: InputFormat, pixels: Pixels, numbers: Sequence[int], batch_size: int = 64
) -> Tensor:
    """Return (N, classes) float32 logits on the CPU, with the model in evaluation mode; its mode is restored."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        rows = [
            model(normalise(to_unit(pixels.batch(numbers[start : start + batch_size]).to(device)), images))
            .float()
            .cpu()
            for start in range(0, len(numbers), batch_size)
        ]
    finally:
        model.train(was_training)
    return torch.cat(rows)
