"""Lightning's trainer, with everything of it switched off that this project does itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lightning.pytorch as L

from wsi2dmamba.training.callbacks import SafeCheckpoints
from wsi2dmamba.training.config import TrainConfig
from wsi2dmamba.training.tracking import make_logger


def make_trainer(
    config: TrainConfig, folder: Path, run_name: str, callbacks: Sequence[L.Callback], gpu: int | None = None
) -> L.Trainer:
    """Return a trainer of one training.

    Parameters
    ----------
    config
        Devices, precision, accumulation, clipping, logging.
    folder, run_name
        Where its logs go, and under which name.
    callbacks
        What happens after a batch.
    gpu
        Which GPU to train on; None leaves the choice to Lightning.
    """
    return L.Trainer(
        max_epochs=1,  # one long epoch; see callbacks.py
        accelerator=config.accelerator,
        devices=config.devices if gpu is None else [gpu],
        strategy="ddp" if config.devices > 1 else "auto",
        precision={"32": "32-true"}.get(config.precision, config.precision),  # type: ignore[arg-type]
        accumulate_grad_batches=config.accumulate,
        gradient_clip_val=config.clip_norm,
        logger=make_logger(config.track, folder, run_name),
        callbacks=list(callbacks),
        plugins=[SafeCheckpoints()],
        limit_val_batches=0,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=str(folder),
    )
