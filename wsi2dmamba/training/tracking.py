"""TensorBoard and Weights & Biases, when they are installed and asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsi2dmamba.core.errors import DependencyError


def close_logger(logger: Any) -> None:
    """End what `make_logger` began: a W&B run that stays open would take the next training's figures as well."""
    finish = getattr(getattr(logger, "experiment", None), "finish", None)
    if finish is not None:
        finish()


def make_logger(track: str, folder: Path, run_name: str) -> Any:
    """Return Lightning's logger for `track`, or False for ``none``.

    Parameters
    ----------
    track
        ``none``, ``tensorboard`` or ``wandb``.
    folder
        The fold's folder; the logs go into `folder/logs`.
    run_name
        Project name at W&B.

    Raises
    ------
    DependencyError
        If the package is not installed.
    """
    if track == "none":
        return False
    try:
        if track == "tensorboard":
            import tensorboard  # noqa: F401
            from lightning.pytorch.loggers import TensorBoardLogger

            return TensorBoardLogger(save_dir=str(folder), name="logs", version="")
        import wandb  # noqa: F401
        from lightning.pytorch.loggers import WandbLogger

        return WandbLogger(project=run_name, name=folder.name, save_dir=str(folder))
    except ImportError as error:
        raise DependencyError(f"train.track: {track} needs a package: pip install 'wsi2dmamba[track]'") from error
