"""One training step, and the optimiser."""

from __future__ import annotations

import math
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor, nn

from wsi2dmamba.models.base import Aggregator
from wsi2dmamba.training.augment import augment
from wsi2dmamba.training.config import TrainConfig
from wsi2dmamba.training.loader import Batch
from wsi2dmamba.training.tasks.base import Task


class ScheduledModule(L.LightningModule):
    """A network, AdamW, and a learning rate that warms up and falls on a cosine.

    Parameters
    ----------
    model
        What is learnt.
    config
        Learning rate, decay and schedule.
    total_batches, batches_per_epoch
        Batches of the whole training and of one epoch: they fix the schedule.
    seed
        Of dropout and augmentation.
    """

    def __init__(
        self, model: nn.Module, config: TrainConfig, *, total_batches: int, batches_per_epoch: int, seed: int
    ) -> None:
        super().__init__()
        self.model = model
        self.config = config
        self.total_steps = math.ceil(total_batches / config.accumulate)
        self.warmup_steps = round(config.warmup_epochs * batches_per_epoch / config.accumulate)
        self.seed = seed
        self.position = 0

    def seed_step(self) -> None:
        """Seed torch's generator by the position, so that a resumed run needs no generator state."""
        torch.manual_seed(step_seed(self.seed, self.position, self.global_rank))

    def configure_optimizers(self) -> Any:
        """Return AdamW with linear warm-up and cosine decay, moved at every optimiser step."""
        groups: list[dict[str, Any]] = [{"params": [], "weight_decay": self.config.weight_decay}]
        undecayed: dict[str, Any] = {"params": [], "weight_decay": 0.0}
        for parameter in self.model.parameters():
            (undecayed if getattr(parameter, "_no_weight_decay", False) else groups[0])["params"].append(parameter)
        if undecayed["params"]:
            groups.append(undecayed)
        optimizer = torch.optim.AdamW(groups, lr=self.config.lr)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.lr_factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def lr_factor(self, step: int) -> float:
        """Return the learning rate of an optimiser step as a share of `lr`."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        done = min((step - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1), 1.0)
        floor = self.config.min_lr_fraction
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done))


class SlideModule(ScheduledModule):
    """An aggregator, its task and how it is learnt.

    Parameters
    ----------
    model, task
        What is learnt, and from which loss.
    config
        Learning rate and schedule, augmentation.
    total_batches, batches_per_epoch, seed
        See `ScheduledModule`.
    """

    model: Aggregator

    def __init__(
        self,
        model: Aggregator,
        task: Task,
        config: TrainConfig,
        *,
        total_batches: int,
        batches_per_epoch: int,
        seed: int,
    ) -> None:
        super().__init__(model, config, total_batches=total_batches, batches_per_epoch=batches_per_epoch, seed=seed)
        self.task = task

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the mean loss of a batch of samples."""
        self.seed_step()
        outputs = []
        for sample, bags in batch:
            self.model.training_label = sample.case.label
            changed = [augment(bag, self.config.patch_dropout, self.config.flips) for bag in bags]
            outputs.append(self.model(changed))
        loss = self.task.loss(torch.stack([output.logits for output in outputs]), [sample.case for sample, _ in batch])
        auxiliary = [output.auxiliary_loss for output in outputs if output.auxiliary_loss is not None]
        return loss + torch.stack(auxiliary).mean() if auxiliary else loss

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move the bags; Lightning's own walk through the batch would copy every dataclass."""
        if device.type == "cpu":
            return batch
        return [(sample, [bag.to(device) for bag in bags]) for sample, bags in batch]


def step_seed(seed: int, position: int, rank: int = 0) -> int:
    """Return the seed of the generator at one step: distinct for every (seed, position, rank) in use."""
    return (seed * 1_000_003 + position * 1_009 + rank) % (2**63)


def fold_seed(seed: int, fold: int) -> int:
    """Return the seed of everything drawn in one fold of one seed."""
    return seed * 10_007 + fold
