"""Settings of the task, the features a run reads, the model, and the training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from wsi2dmamba.core.validation import Settings


class FeatureSource(Settings):
    """Where the features of a run are, and how they are held.

    Attributes
    ----------
    dir
        Folder of feature files, one per slide.
    on_collision
        What to do with patches of other tools' files that share a cell: ``error``, ``mean`` or ``first``.
    encoder
        For AtlasPatch files, which hold features of several encoders: which.
    cache
        ``memory`` keeps bags once read (as stored, float16 or float32) up to `cache_gb`; ``mmap`` maps the files
        and leaves the caching to the system; ``none`` reads each time.
    cache_gb
        Most memory that one process keeps for bags, in GiB.
    """

    dir: Path
    on_collision: Literal["error", "mean", "first"] = "error"
    encoder: str | None = None
    cache: Literal["memory", "mmap", "none"] = "memory"
    cache_gb: float = Field(4.0, gt=0)


class TaskConfig(Settings):
    """What is learnt.

    Attributes
    ----------
    kind
        ``classification``, ``ordinal`` (classes in the order of cohort.class_names), ``regression``, ``survival``
        (discrete-time likelihood) or ``cox`` (partial likelihood over train.batch_size patients).
    bins
        Time intervals of `survival`; their edges are quantiles of the event times of the training patients.
    alpha
        Extra weight of patients with an event in `survival`: the loss is (1 − α)·all + α·events.
    label_smoothing
        Share of the target spread over all classes (`classification`).
    class_weights
        ``none``, ``balanced`` (inverse frequency in training) or one number per class.
    """

    kind: Literal["classification", "ordinal", "regression", "survival", "cox"] = "classification"
    bins: int = Field(4, ge=2, le=64)
    alpha: float = Field(0.0, ge=0, le=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    class_weights: Literal["none", "balanced"] | list[float] = "none"


class ModelConfig(BaseModel):
    """Which aggregator, and its own options (any further keys; the model refuses the ones it does not know).

    Attributes
    ----------
    name
        One of `wsi2dmamba.models.registry.model_names()`.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = "2dmamba"

    @property
    def options(self) -> dict[str, Any]:
        """The model's own options."""
        return dict(self.model_extra or {})


class TrainConfig(Settings):
    """How it is learnt.

    Attributes
    ----------
    epochs
        Passes over the training patients.
    lr, weight_decay, min_lr_fraction
        AdamW; the learning rate warms up over `warmup_epochs` and falls on a cosine to `min_lr_fraction` × lr.
    batch_size
        Patients per step (Cox needs several).
    accumulate
        Steps whose gradients are added up before the weights move.
    clip_norm
        Largest norm of the gradient; null = no clipping.
    patience
        Epochs without a better validation loss before training stops; null = never.
    choose
        ``best``: the weights of the epoch with the least validation loss; ``last``: those of the last epoch.
    seeds
        One training per seed and fold.
    precision
        ``32``, ``bf16-mixed`` or ``16-mixed``.
    accelerator, devices
        As Lightning takes them; more than one device trains with DDP.
    balanced_sampling
        Draw patients so that every class (or event and censored) comes equally often.
    several_slides
        ``join`` pools the patches of all of a patient's slides; ``average`` trains on each and averages predictions.
    ema
        Decay of an exponential moving average of the weights, which is then what is validated and kept; null = none.
    patch_dropout
        Share of patches left out at each step.
    flips
        Flip and transpose each bag's grid at random (the eight symmetries of the square).
    workers
        Folds × seeds trained at the same time, each in its own process; null = one per processor.
    checkpoint_seconds
        Least time between two checkpoints for resuming; 0 = after every step.
    track
        Also log to ``tensorboard`` or ``wandb`` (install `wsi2dmamba[track]`).
    """

    epochs: int = Field(20, ge=1)
    lr: float = Field(1e-4, gt=0)
    weight_decay: float = Field(1e-5, ge=0)
    warmup_epochs: float = Field(0.0, ge=0)
    min_lr_fraction: float = Field(0.0, ge=0, le=1)
    batch_size: int = Field(1, ge=1)
    accumulate: int = Field(1, ge=1)
    clip_norm: float | None = Field(None, gt=0)
    patience: int | None = Field(None, ge=1)
    choose: Literal["best", "last"] = "best"
    seeds: tuple[int, ...] = (0,)
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    accelerator: str = "auto"
    devices: int = Field(1, ge=1)
    balanced_sampling: bool = False
    several_slides: Literal["join", "average"] = "join"
    ema: float | None = Field(None, gt=0, lt=1)
    patch_dropout: float = Field(0.0, ge=0, lt=1)
    flips: bool = False
    workers: int | None = Field(None, ge=1)
    checkpoint_seconds: float = Field(30.0, ge=0)
    track: Literal["none", "tensorboard", "wandb"] = "none"

    @field_validator("seeds", mode="before")
    @classmethod
    def _one_seed_is_a_list_of_one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, (int, str)) else value

    @field_validator("precision", mode="before")
    @classmethod
    def _a_number_is_a_precision(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int) else value

    @model_validator(mode="after")
    def _seeds_differ(self) -> TrainConfig:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ValueError("seeds must be at least one number ≥ 0, each once")
        return self
