"""Settings of `wsi2dmamba extract`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from wsi2dmamba.core.validation import Settings
from wsi2dmamba.slides.reader import Backend

Precision = Literal["auto", "float32", "float16", "bfloat16"]


class ExtractConfig(Settings):
    """What to extract, with what, and how fast.

    Attributes
    ----------
    tiles
        Folder that `wsi2dmamba tile --out` wrote (or its `tiles` folder).
    out
        Features go to ``out/<encoder>/<slide_id>.h5``.
    slides
        Where the slides are now; None: where they were when tiled.
    encoder, weights, offline, pooling, encoder_px, encoder_mpp
        See `features.encoders.EncoderRequest`.
    devices
        Torch devices; ``("auto",)`` takes a GPU when there is one. Several devices share the slides.
    batch_size
        Patches per forward pass.
    precision
        ``auto``: float16 on a GPU, float32 on a CPU. Stored features are float16 unless computed in float32.
    workers
        Reading processes; None: chosen from the processors; 0: read in this process.
    compile
        Compile the network with `torch.compile`.
    overwrite
        Make every file again; without it finished ones are skipped, and those made with other settings refused.
    on_bad_tile
        A patch that cannot be read is left out and counted (``skip``), or fails its slide (``fail``).
    dask
        Address of a Dask scheduler, or a YAML file that describes a cluster: one task per slide; None: this machine.
    reader
        Slide reader: ``auto`` takes the fastest that reads a slide right, the others insist on one.
    cache
        Folder on a local disk that slides are copied to just before use and removed from after.
    """

    tiles: Path
    out: Path
    slides: Path | None = None
    encoder: str = "texture"
    weights: str | None = None
    offline: bool = False
    pooling: str | None = None
    encoder_px: int | None = Field(None, ge=1)
    encoder_mpp: float | None = Field(None, gt=0)
    devices: tuple[str, ...] = ("auto",)
    batch_size: int = Field(64, ge=1)
    precision: Precision = "auto"
    workers: int | None = Field(None, ge=0)
    compile: bool = False
    overwrite: bool = False
    on_bad_tile: Literal["skip", "fail"] = "skip"
    cache: Path | None = None
    dask: str | None = None
    reader: Backend = "auto"
