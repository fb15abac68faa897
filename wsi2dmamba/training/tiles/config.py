"""Settings of a training on labelled patches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, model_validator

from wsi2dmamba.config import apply_override, known_keys
from wsi2dmamba.core.errors import ConfigError
from wsi2dmamba.core.validation import Settings, one_line
from wsi2dmamba.training.config import TrainConfig


class TileData(Settings):
    """The labelled patches.

    Attributes
    ----------
    data
        A folder ``CLASS/…/image.png``, or a CSV of images.
    groups
        For a folder: a CSV that names the group (patient, slide, cluster) of every image.
    path_column, label_column, group_column, split_column
        Columns of the CSVs; None takes the usual name.
    """

    data: Path
    groups: Path | None = None
    path_column: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    split_column: str | None = None


class AugmentConfig(Settings):
    """How training images are changed at random.

    Attributes
    ----------
    symmetries
        Flips and quarter turns: the eight symmetries of the square.
    rotation
        Largest further rotation, degrees.
    zoom
        Largest change of scale, as a share.
    jitter
        Largest change of brightness, contrast and saturation, as a share.
    """

    symmetries: bool = True
    rotation: float = Field(0.0, ge=0, le=45)
    zoom: float = Field(0.1, ge=0, lt=1)
    jitter: float = Field(0.2, ge=0, lt=1)


_IDLE = {"patch_dropout", "flips", "several_slides", "workers"}
"""Settings of trainings on slides that mean nothing for patches."""


class TileLearning(TrainConfig):
    """`TrainConfig` with the defaults of images; batches are of images, and one seed is trained."""

    epochs: int = Field(30, ge=1)
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    warmup_epochs: float = Field(2.0, ge=0)
    batch_size: int = Field(32, ge=1)
    clip_norm: float | None = Field(5.0, gt=0)

    @model_validator(mode="after")
    def _nothing_of_slides(self) -> TileLearning:
        idle = _IDLE & self.model_fields_set
        if idle:
            raise ValueError(f"{sorted(idle)[0]} is a setting of slides, not of patches")
        if self.devices > 1 or len(self.seeds) > 1:
            raise ValueError("one device and one seed train at a time; start the command once for each")
        return self


class TileRun(Settings):
    """All settings of a training on labelled patches.

    Attributes
    ----------
    tiles
        Where the patches are.
    out
        The run folder.
    size
        Size of the backbone (`wsi2dmamba.models.vision.CONFIGS`).
    px
        Side that images are resized to.
    mpp
        Micrometres per pixel of the images as stored, for use as an encoder; None: not known.
    parts
        Into how many parts the groups are divided: one is tested, the next one validates, the others train.
    folds
        How many parts take their turn as the tested one.
    label_smoothing
        Share of the target spread over all classes.
    cache_gb
        Most memory for decoded images, GiB; what does not fit is read anew in every epoch.
    augment, train
        Augmentation and learning.
    """

    tiles: TileData
    out: Path
    size: str = "micro"
    px: int = Field(224, ge=16, le=2048)
    mpp: float | None = Field(None, gt=0)
    parts: int = Field(5, ge=3, le=100)
    folds: int = Field(1, ge=1, le=100)
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    cache_gb: float = Field(4.0, ge=0)
    augment: AugmentConfig = AugmentConfig()
    train: TileLearning = TileLearning()

    @model_validator(mode="after")
    def _folds_are_parts(self) -> TileRun:
        if self.folds > self.parts:
            raise ValueError(f"folds: {self.folds} is more than the {self.parts} parts")
        return self

    def identity(self) -> dict[str, Any]:
        """Return what decides the trained weights: everything but places, caching, and how many folds are wanted."""
        learning = _IDLE | {"checkpoint_seconds", "track"}
        return self.model_dump(
            mode="json",
            exclude={"out": True, "folds": True, "cache_gb": True, "tiles": {"data", "groups"}, "train": learning},
        )


def parse_tile_run(values: dict[str, Any], overrides: Sequence[str] = ()) -> TileRun:
    """Check the settings of a training on patches.

    Parameters
    ----------
    values
        Nested settings.
    overrides
        ``section.key=value`` each, e.g. ``train.ema=0.99`` or ``augment.rotation=15``.

    Raises
    ------
    ConfigError
        An unknown key or a wrong value, in one line.
    """
    for override in overrides:
        apply_override(values, override)
    try:
        return TileRun.model_validate(values)
    except ValidationError as error:
        raise ConfigError(one_line(error, known_keys(TileRun))) from error
