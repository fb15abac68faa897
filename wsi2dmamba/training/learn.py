"""The learning itself: model, task, loader and Lightning's loop of one training, put together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import lightning
import torch

from wsi2dmamba.cohort.cases import Case
from wsi2dmamba.models.registry import build_model, parse_options
from wsi2dmamba.training.callbacks import EpochEnd, ResumePoint
from wsi2dmamba.training.checkpoint import TrainedModel
from wsi2dmamba.training.data import BagStore, Sample, samples_of
from wsi2dmamba.training.fit import LAST
from wsi2dmamba.training.inference import logits_of
from wsi2dmamba.training.loader import SampleLoader, balancing_weights
from wsi2dmamba.training.module import ScheduledModule, SlideModule, fold_seed
from wsi2dmamba.training.tasks import make_task
from wsi2dmamba.training.tracking import close_logger
from wsi2dmamba.training.trainer import make_trainer

if TYPE_CHECKING:
    from wsi2dmamba.training.fit import FoldTask


def learn(task: FoldTask, cases: dict[str, Case], store: BagStore) -> tuple[TrainedModel, EpochEnd]:
    """Train to the end, from the beginning or from the last checkpoint in the task's folder.

    Parameters
    ----------
    task
        What to train.
    cases
        Patients by id.
    store
        Their bags.

    Returns
    -------
    tuple
        The model with the weights of the last step, and the epochs, which hold the weights to keep.

    Raises
    ------
    TrainingError
        If the loss becomes infinite or NaN.
    """
    config = task.config.train
    seed = fold_seed(task.seed, task.fold.index)
    loader = _loader(task, cases, store, seed)
    module = _module(task, cases, loader, seed)
    validation = samples_of([cases[case_id] for case_id in task.fold.validation], config.several_slides)
    epochs = EpochEnd(loader, lambda module: _validation_loss(module, validation, store), config, task.folder)
    # Clocks of several processes differ; they agree on a checkpoint at the end of every epoch.
    every = config.checkpoint_seconds if config.devices == 1 else None
    resume = ResumePoint(task.folder / LAST, loader, config.accumulate, every)
    trainer = make_trainer(config, task.folder, task.config.name, [epochs, resume], task.gpu)
    _fit(trainer, module, loader, task)
    trained = TrainedModel(
        module.model.cpu(),
        module.task,
        task.config.model.name,
        parse_options(task.config.model.name, task.config.model.options).model_dump(mode="json"),
        task.features,
        config.several_slides,
        task.fold.index,
        task.seed,
    )
    return trained, epochs


def _loader(task: FoldTask, cases: dict[str, Case], store: BagStore, seed: int) -> SampleLoader:
    config = task.config.train
    samples = samples_of([cases[case_id] for case_id in task.fold.train], config.several_slides)
    return SampleLoader(
        samples,
        store,
        epochs=config.epochs,
        batch_size=config.batch_size,
        seed=seed,
        weights=balancing_weights(samples) if config.balanced_sampling else None,
        rank=int(os.environ.get("LOCAL_RANK", "0")) if config.devices > 1 else 0,
        world=config.devices,
    )


def _module(task: FoldTask, cases: dict[str, Case], loader: SampleLoader, seed: int) -> SlideModule:
    learnt = make_task(task.config.task, task.cohort, [cases[case_id] for case_id in task.fold.train])
    torch.manual_seed(seed)
    model = build_model(task.config.model.name, task.features.dim, learnt.out_dim, task.config.model.options)
    return SlideModule(
        model,
        learnt,
        task.config.train,
        total_batches=task.config.train.epochs * loader.batches_per_epoch,
        batches_per_epoch=loader.batches_per_epoch,
        seed=seed,
    )


def _fit(trainer: lightning.Trainer, module: SlideModule, loader: SampleLoader, task: FoldTask) -> None:
    last = task.folder / LAST
    try:
        trainer.fit(module, train_dataloaders=loader, ckpt_path=str(last) if last.is_file() else None)
    except SystemExit:
        # Lightning turns Ctrl-C into exit(1); the command has its own way to end.
        if trainer.interrupted:
            raise KeyboardInterrupt from None
        raise
    close_logger(trainer.logger)


def _validation_loss(module: ScheduledModule, validation: Sequence[Sample], store: BagStore) -> float:
    assert isinstance(module, SlideModule)
    logits = logits_of(module.model, validation, store)
    return float(module.task.loss(logits, [sample.case for sample in validation]))
