"""One fold: from pixels to a trained network and its predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.nn import functional as F

from wsi2dmamba.core.files import atomic_path, make_folder, remove_partials
from wsi2dmamba.models.vision import Checkpoint, ImageBackbone, InputFormat, save
from wsi2dmamba.models.vision.checkpoint import WEIGHTS
from wsi2dmamba.models.vision.config import find_config
from wsi2dmamba.training.callbacks import EpochEnd, ResumePoint
from wsi2dmamba.training.fit import HISTORY, LAST, PREDICTIONS
from wsi2dmamba.training.module import ScheduledModule, fold_seed
from wsi2dmamba.training.quiet import quiet_lightning
from wsi2dmamba.training.tiles.config import TileRun
from wsi2dmamba.training.tiles.module import TileLoader, TileModule, logits_of_images
from wsi2dmamba.training.tiles.pixels import Pixels
from wsi2dmamba.training.tiles.splits import TileFold
from wsi2dmamba.training.tiles.table import Tile
from wsi2dmamba.training.trainer import make_trainer
from wsi2dmamba.training.watch import PROGRESS


@dataclass(frozen=True)
class TileSet:
    """The readable patches of a run.

    Attributes
    ----------
    tiles
        What is known of each.
    pixels
        Their images, by the same number.
    class_names
        In the order of the logits.
    mpp
        Micrometres per pixel at the network's input; None: not known.
    """

    tiles: list[Tile]
    pixels: Pixels
    class_names: tuple[str, ...]
    mpp: float | None

    def labels(self, numbers: Sequence[int]) -> list[int]:
        """Return the classes of some patches, as numbers."""
        return [self.class_names.index(self.tiles[number].label) for number in numbers]


def fit_tiles(run: TileRun, data: TileSet, fold: TileFold, folder: Path) -> Path:
    """Train one fold, or go on from its last checkpoint, and return its folder.

    Raises
    ------
    TrainingError
        If the loss becomes infinite or NaN.
    CheckpointError
        If the checkpoint to go on from cannot be read.
    StoreError
        If an image that was readable is not any more.
    """
    remove_partials(make_folder(folder))
    mean, std = data.pixels.statistics(fold.train)
    images = InputFormat.model_validate({"px": run.px, "mpp": data.mpp, "mean": mean, "std": std})
    with quiet_lightning():
        model, epochs = _train(run, data, fold, images, folder)
    model.load_state_dict(epochs.weights)
    details = {"best_epoch": epochs.best_epoch, "validation_loss": epochs.best_loss, "fold": fold.index}
    save(folder / WEIGHTS, Checkpoint(model, images, data.class_names, details))
    with atomic_path(folder / HISTORY) as partial:
        pd.DataFrame(epochs.history).to_csv(partial, index=False)
    with atomic_path(folder / PREDICTIONS) as partial:
        _predictions(model, images, run, data, fold).to_csv(partial, index=False)
    for leftover in (LAST, PROGRESS):
        (folder / leftover).unlink(missing_ok=True)
    return folder


def _train(
    run: TileRun, data: TileSet, fold: TileFold, images: InputFormat, folder: Path
) -> tuple[ImageBackbone, EpochEnd]:
    config, seed = run.train, fold_seed(run.train.seeds[0], fold.index)
    torch.manual_seed(seed)
    model = ImageBackbone(find_config(run.size), len(data.class_names))
    labels = data.labels(fold.train)
    loader = TileLoader(
        data.pixels,
        fold.train,
        labels,
        epochs=config.epochs,
        batch_size=config.batch_size,
        seed=seed,
        weights=[1 / labels.count(label) for label in labels] if config.balanced_sampling else None,
    )
    steps = loader.batches_per_epoch
    module = TileModule(model, images, run, total_batches=config.epochs * steps, batches_per_epoch=steps, seed=seed)
    truth = torch.tensor(data.labels(fold.validation))

    def judge(learnt: ScheduledModule) -> float:
        assert isinstance(learnt, TileModule)
        return float(F.cross_entropy(logits_of_images(learnt.model, images, data.pixels, fold.validation), truth))

    epochs = EpochEnd(loader, judge, config, folder)
    last = folder / LAST
    resume = ResumePoint(last, loader, config.accumulate, config.checkpoint_seconds)
    trainer = make_trainer(config, folder, run.out.name, [epochs, resume])
    trainer.fit(module, train_dataloaders=loader, ckpt_path=str(last) if last.is_file() else None)
    return model.cpu(), epochs


def _predictions(
    model: ImageBackbone, images: InputFormat, run: TileRun, data: TileSet, fold: TileFold
) -> pd.DataFrame:
    """One row per patch; its case is its group, so that `eval` resamples groups."""
    parts = []
    for split, numbers in fold.parts():
        tiles = [data.tiles[number] for number in numbers]
        probabilities = torch.softmax(logits_of_images(model, images, data.pixels, numbers).double(), dim=1).numpy()
        columns: dict[str, Any] = {
            "case_id": [tile.group or tile.name for tile in tiles],
            "tile": [tile.name for tile in tiles],
            "fold": fold.index,
            "seed": run.train.seeds[0],
            "split": split,
            "label": [tile.label for tile in tiles],
        }
        columns |= {f"prob_{name}": probabilities[:, index] for index, name in enumerate(data.class_names)}
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)
