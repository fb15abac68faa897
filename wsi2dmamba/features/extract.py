"""`wsi2dmamba extract`: every slide of a tiles folder to a feature file."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import torch

from wsi2dmamba.core.errors import InputError, StoreError, WSI2DMambaError
from wsi2dmamba.core.executors import Executor, make_executor
from wsi2dmamba.core.files import make_folder, remove_partials
from wsi2dmamba.core.manifest import write_manifest
from wsi2dmamba.core.progress import track
from wsi2dmamba.features.config import ExtractConfig
from wsi2dmamba.features.device import resolve_devices, resolve_precision
from wsi2dmamba.features.encoders import Encoder, load_encoder
from wsi2dmamba.features.jobs import Extraction, SlideJob, SlideLockedError, extraction_of, is_done, tile_files
from wsi2dmamba.features.runs import Outcome, Setup, request_of, run_here, run_remotely
from wsi2dmamba.features.summary import FeatureRow, write_summary
from wsi2dmamba.slides.find import find_slides
from wsi2dmamba.slides.tilefile import read_tile_file

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExtractReport:
    """What a run did: the folder of the features, and one row per slide, in the order of the tile folder."""

    folder: Path
    rows: tuple[FeatureRow, ...]

    @property
    def failed(self) -> tuple[FeatureRow, ...]:
        """The slides that could not be done."""
        return tuple(row for row in self.rows if row.status == "failed")


def extract_slides(config: ExtractConfig) -> ExtractReport:
    """Encode every slide of `config.tiles` that is not done yet.

    Returns
    -------
    ExtractReport
        Also written to ``out/<encoder>/features.csv``. A slide that fails is reported there and the others go on.

    Raises
    ------
    WSI2DMambaError
        If nothing can be done at all: no tile files, no such encoder, or features made with other settings.
    """
    paths = tile_files(config.tiles)
    if config.slides is not None and not config.slides.is_dir():
        raise InputError(f"the slides folder {config.slides} does not exist")
    with _place(config) as place:
        return _extract(config, paths, place)


@dataclass(frozen=True)
class _Place:
    """Where this run encodes: devices of this machine, or an executor over a cluster's workers."""

    devices: tuple[torch.device, ...]
    executor: Executor | None

    @property
    def on_gpu(self) -> bool:
        return self.executor.offers_gpu if self.executor else self.devices[0].type == "cuda"


@contextmanager
def _place(config: ExtractConfig) -> Iterator[_Place]:
    if config.dask is None:
        yield _Place(tuple(resolve_devices(config.devices)), None)
        return
    with make_executor(config.dask, 1, gpu=config.devices != ("cpu",)) as executor:
        yield _Place((), executor)


def _extract(config: ExtractConfig, paths: list[Path], place: _Place) -> ExtractReport:
    precision = resolve_precision(config.precision, place.on_gpu)
    encoder = load_encoder(request_of(config))
    folder = make_folder(config.out / encoder.info.name)
    remove_partials(folder)
    found = find_slides([config.slides.absolute()]) if config.slides else {}
    jobs = [
        SlideJob(
            slide_id=path.stem,
            tile_path=path.absolute(),
            feature_path=(folder / path.name).absolute(),
            slides=config.slides,
            found=found.get(path.stem),
            reader=config.reader,
        )
        for path in paths
    ]
    wanted = extraction_of(encoder.info, precision, config.pooling)
    todo = [job for job in jobs if not _done(job, wanted, config.overwrite)]
    warn_of_mismatch(encoder, jobs)
    rows = {job.slide_id: _skipped_row(job, wanted) for job in jobs if job not in todo}
    setup = Setup(config, precision, wanted)
    if place.executor is not None:
        outcomes = run_remotely(todo, setup, place.executor)
    else:
        outcomes = run_here(todo, setup, encoder, list(place.devices))
    try:
        for outcome in track(outcomes, total=len(todo), label=f"extract {encoder.info.name}"):
            rows[outcome.task.slide_id] = row_of(outcome, wanted)
    finally:  # interrupted or not: what is known so far stands in the summary
        write_results(folder, list(rows.values()), wanted, config.model_dump() | {"precision": precision})
    return ExtractReport(folder, tuple(rows[job.slide_id] for job in jobs))


def write_results(folder: Path, rows: list[FeatureRow], made: Extraction, parameters: dict[str, Any]) -> None:
    """Write what stands over all slides: `features.csv` and `manifest.json`.

    Raises
    ------
    InputError
        If the disk is full or refuses.
    """
    counts = dict(sorted(Counter(row.status for row in rows).items()))
    result = {"encoder": made.encoder, "encoder_revision": made.revision, "slides": counts}
    try:
        write_summary(folder / "features.csv", rows)
        write_manifest(folder / "manifest.json", "extract", parameters, result)
    except OSError as error:
        raise InputError(
            f"cannot write the summary to {folder}: {error.strerror or error}; make room and run again"
        ) from error


def warn_of_mismatch(encoder: Encoder, jobs: list[SlideJob]) -> None:
    """Say once when the patches are not what the encoder was made for."""
    info = encoder.info
    geometry = None
    for job in jobs:
        with suppress(WSI2DMambaError):
            geometry = read_tile_file(job.tile_path).geometry
            break
    if geometry is None:
        return
    if info.mpp is not None and abs(geometry.mpp / info.mpp - 1) > 0.1:
        log.warning("%s was made for %g µm/px, but the patches are at %g µm/px", info.name, info.mpp, geometry.mpp)
    if info.patch_px is not None and geometry.patch_px != info.patch_px:
        log.warning(
            "%s sees %d px, so patches of %d px are resized: its effective resolution is %.3g µm/px",
            info.name,
            info.patch_px,
            geometry.patch_px,
            geometry.mpp * geometry.patch_px / info.patch_px,
        )


def row_of(outcome: Outcome, wanted: Extraction) -> FeatureRow:
    """Return the summary line of an outcome."""
    summary, slide_id = outcome.value, outcome.task.slide_id
    row = FeatureRow(slide_id, wanted.encoder, 0, 0, 0, outcome.seconds, "failed", _one_line(outcome.error))
    if summary is None:
        return replace(row, status="locked") if isinstance(outcome.error, SlideLockedError) else row
    message = f"{summary.unreadable} unreadable patches left out" if summary.unreadable else ""
    done = replace(row, patches=summary.patches, unreadable=summary.unreadable, dim=summary.dim)
    if summary.patches == 0:
        return replace(done, status="empty", message="the slide has no tissue patch")
    return replace(done, status="done", message=message)


def _done(job: SlideJob, wanted: Extraction, overwrite: bool) -> bool:
    if overwrite:
        return False
    try:
        return is_done(job, wanted)
    except StoreError:
        return False  # the tile file is unreadable: the job itself will say so


def _skipped_row(job: SlideJob, wanted: Extraction) -> FeatureRow:
    with h5py.File(job.feature_path, "r") as features, h5py.File(job.tile_path, "r") as tiles:
        patches, dim = features["features"].shape
        unreadable = len(tiles["coords"]) - patches
    message = "done before" + (f", {unreadable} unreadable patches left out" if unreadable else "")
    return FeatureRow(job.slide_id, wanted.encoder, int(patches), int(unreadable), int(dim), 0.0, "skipped", message)


def _one_line(error: BaseException | None) -> str:
    if error is None:
        return ""
    text = " ".join(str(error).split())
    return text if isinstance(error, WSI2DMambaError) else f"{type(error).__name__}: {text}"
