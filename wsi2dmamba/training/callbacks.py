"""What happens at the end of an epoch, and the checkpoint from which a killed training goes on.

To Lightning a training is one long epoch of `epochs × batches` steps, so that going on at any step needs only the
number of batches done. The epochs in the sense of the data are kept here.
"""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor

from wsi2dmamba.core.errors import CheckpointError, TrainingError
from wsi2dmamba.core.files import atomic_path
from wsi2dmamba.training.config import TrainConfig
from wsi2dmamba.training.loader import EpochLoader
from wsi2dmamba.training.module import ScheduledModule
from wsi2dmamba.training.watch import tell_progress


class EpochEnd(L.Callback):
    """Validates after every epoch, keeps the weights of the best one, and stops early.

    Parameters
    ----------
    loader
        The training batches; its `position` is set when a training goes on.
    judge
        Gives the validation loss of a module whose model holds the weights to judge.
    config
        `choose`, `patience` and `ema`.
    folder
        The fold's folder, where the number of finished epochs is told.

    Attributes
    ----------
    history
        One row per epoch: epoch (from 1), train_loss, validation_loss, learning_rate.
    best_epoch, best_loss
        The epoch (from 1) whose weights are kept, and its validation loss.
    weights
        The kept weights, on the CPU.
    """

    def __init__(
        self,
        loader: EpochLoader[Any],
        judge: Callable[[ScheduledModule], float],
        config: TrainConfig,
        folder: Path,
    ) -> None:
        self.loader = loader
        self.judge = judge
        self.config = config
        self.folder = folder
        self.history: list[dict[str, float]] = []
        self.best_epoch = 0
        self.best_loss = math.inf
        self.weights: dict[str, Tensor] = {}
        self.averaged: dict[str, Tensor] = {}
        self.finished = False
        self._losses: list[Tensor] = []

    def state_dict(self) -> dict[str, Any]:
        return {
            "position": self.loader.position,
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best_loss": self.best_loss,
            "weights": self.weights,
            "averaged": self.averaged,
            "finished": self.finished,
            "losses": [float(loss) for loss in self._losses],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.loader.position = state_dict["position"]
        self.history = state_dict["history"]
        self.best_epoch = state_dict["best_epoch"]
        self.best_loss = state_dict["best_loss"]
        self.weights = state_dict["weights"]
        self.averaged = state_dict["averaged"]
        self.finished = state_dict["finished"]
        self._losses = [torch.tensor(loss) for loss in state_dict["losses"]]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, ScheduledModule)
        pl_module.position = self.loader.position

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, ScheduledModule)
        # Lightning hands out the loss divided by the number of accumulated batches.
        self._losses.append(outputs["loss"].detach() * self.config.accumulate)
        self.loader.position += 1
        pl_module.position = self.loader.position
        if self.config.ema is not None and self.loader.position % self.config.accumulate == 0:
            self._average(pl_module, self.config.ema)
        if self.loader.position % self.loader.batches_per_epoch == 0:
            self._end_epoch(trainer, pl_module)

    def _average(self, module: ScheduledModule, decay: float) -> None:
        with torch.no_grad():
            for name, value in module.model.state_dict().items():
                if name not in self.averaged or not value.is_floating_point():
                    self.averaged[name] = value.detach().clone()
                else:
                    self.averaged[name] = self.averaged[name].to(value.device).lerp_(value, 1 - decay)

    def _end_epoch(self, trainer: L.Trainer, module: ScheduledModule) -> None:
        epoch = self.loader.position // self.loader.batches_per_epoch
        train_loss = float(torch.stack([loss.float().cpu() for loss in self._losses]).double().mean())
        self._losses = []
        if not math.isfinite(train_loss):
            raise TrainingError(f"the loss became {train_loss} in epoch {epoch}; lower train.lr or set train.clip_norm")
        validation_loss = self._validate(module)
        row = {
            "epoch": epoch,
            "train_loss": train_loss,
            "validation_loss": validation_loss,
            "learning_rate": float(trainer.optimizers[0].param_groups[0]["lr"]),
        }
        self.history.append(row)
        tell_progress(self.folder, epoch)
        if trainer.logger is not None:
            trainer.logger.log_metrics({key: value for key, value in row.items() if key != "epoch"}, step=epoch)
        if self.config.choose == "last" or validation_loss < self.best_loss:
            self.best_epoch, self.best_loss = epoch, validation_loss
            kept = self.averaged or module.model.state_dict()
            self.weights = {name: value.detach().cpu().clone() for name, value in kept.items()}
        patience = self.config.patience
        self.finished = epoch == self.loader.epochs or (patience is not None and epoch - self.best_epoch >= patience)
        if self.finished:
            trainer.should_stop = True

    def _validate(self, module: ScheduledModule) -> float:
        if not self.averaged:
            return self.judge(module)
        current = {name: value.detach().clone() for name, value in module.model.state_dict().items()}
        module.model.load_state_dict(self.averaged)
        try:
            return self.judge(module)
        finally:
            module.model.load_state_dict(current)


class ResumePoint(L.Callback):
    """Writes `last.ckpt` from time to time, between optimiser steps.

    Parameters
    ----------
    path
        Where it goes.
    loader
        The training batches, for the position.
    accumulate
        Batches per optimiser step: gradients in between are not saved.
    every_seconds
        Least time between two checkpoints; None = at the end of every epoch.
    """

    def __init__(self, path: Path, loader: EpochLoader[Any], accumulate: int, every_seconds: float | None) -> None:
        self.path = path
        self.loader = loader
        self.accumulate = accumulate
        self.every_seconds = every_seconds
        self._last = time.monotonic()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.every_seconds is None:
            due = self.loader.position % self.loader.batches_per_epoch == 0
        else:
            due = self.every_seconds == 0 or time.monotonic() - self._last >= self.every_seconds
        if due and self.loader.position % self.accumulate == 0:
            trainer.save_checkpoint(self.path)
            self._last = time.monotonic()


class SafeCheckpoints(TorchCheckpointIO):
    """Checkpoints that appear whole or not at all, and are read without unpickling code."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        # Lightning's own account of its loops would make it look for a place inside *its* epoch.
        kept = {key: value for key, value in checkpoint.items() if key != "loops"}
        with atomic_path(Path(path)) as partial:
            torch.save(kept, partial)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        try:
            checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError, OSError) as error:
            raise CheckpointError(
                f"{path} cannot be read as a checkpoint; delete it to train this fold anew"
            ) from error
        return checkpoint
