"""`wsi2dmamba extract`: every slide of a tiles folder to a feature file."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import h5py
import torch

from wsi2dmamba.core.errors import InputError, WSI2DMambaError
from wsi2dmamba.core.files import make_folder, remove_partials
from wsi2dmamba.core.progress import track
from wsi2dmamba.core.workers import TaskOutcome, default_workers
from wsi2dmamba.features.config import ExtractConfig
from wsi2dmamba.features.device import DeviceEncoder, resolve_devices, resolve_precision
from wsi2dmamba.features.encoders import Encoder, EncoderRequest, load_encoder
from wsi2dmamba.features.feed import ChunkFeed
from wsi2dmamba.features.jobs import Extraction, SlideJob, extraction_of, is_done, tile_files
from wsi2dmamba.features.lane import Lane, SlideSummary
from wsi2dmamba.features.summary import FeatureRow, write_summary
from wsi2dmamba.slides.tilefile import read_tile_file

log = logging.getLogger(__name__)

Outcome = TaskOutcome[SlideJob, SlideSummary]


@dataclass(frozen=True)
class ExtractReport:
    """What a run did: one row per slide, in the order of the tile folder."""

    rows: tuple[FeatureRow, ...]

    @property
    def failed(self) -> tuple[FeatureRow, ...]:
        """The slides that could not be done."""
        return tuple(row for row in self.rows if row.status == "failed")


def request_of(config: ExtractConfig) -> EncoderRequest:
    """Return the encoder that a configuration asks for."""
    return EncoderRequest(
        spec=config.encoder,
        weights=config.weights,
        offline=config.offline,
        pooling=config.pooling,
        patch_px=config.encoder_px,
        mpp=config.encoder_mpp,
    )


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
    devices = resolve_devices(config.devices)
    precision = resolve_precision(config.precision, devices[0])
    encoder = load_encoder(request_of(config))
    folder = make_folder(config.out / encoder.info.name)
    remove_partials(folder)
    jobs = [SlideJob(path.stem, path, folder / path.name, config.slides) for path in paths]
    wanted = extraction_of(encoder.info, precision, config.pooling)
    todo = [job for job in jobs if not _done(job, wanted, config.overwrite)]
    warn_of_mismatch(encoder, jobs)
    rows = {job.slide_id: _skipped_row(job, wanted) for job in jobs if job not in todo}
    summary_path = folder / "features.csv"
    outcomes = run_jobs(todo, config, encoder, devices, precision, wanted)
    for outcome in track(outcomes, total=len(todo), label=f"extract {encoder.info.name}"):
        rows[outcome.task.slide_id] = row_of(outcome, wanted)
        if outcome.error is not None:
            log.error("%s: %s", outcome.task.slide_id, rows[outcome.task.slide_id].message)
    write_summary(summary_path, list(rows.values()))
    return ExtractReport(tuple(rows[job.slide_id] for job in jobs))


def run_jobs(
    jobs: list[SlideJob],
    config: ExtractConfig,
    encoder: Encoder,
    devices: list[torch.device],
    precision: str,
    wanted: Extraction,
) -> Iterator[Outcome]:
    """Yield the outcome of every job, encoding on every device at once."""
    if len(devices) == 1:
        yield from _run_lane(iter(jobs), config, encoder, devices[0], precision, wanted)
        return
    # One thread per device: readers are processes, and torch lets go of the interpreter while a GPU works.
    shared: queue.SimpleQueue[SlideJob] = queue.SimpleQueue()
    for job in jobs:
        shared.put(job)
    results: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()

    def work(device: torch.device, own: Encoder) -> None:
        try:
            for outcome in _run_lane(_drain(shared), config, own, device, precision, wanted, share=len(devices)):
                results.put(outcome)
        except BaseException as error:  # carried to the main thread, which raises it
            results.put(error)
        finally:
            results.put(None)

    encoders = [encoder, *(load_encoder(request_of(config)) for _ in devices[1:])]
    for device, own in zip(devices, encoders, strict=True):
        threading.Thread(target=work, args=(device, own), daemon=True, name=f"lane {device}").start()
    running = len(devices)
    while running:
        result = results.get()
        if result is None:
            running -= 1
        elif isinstance(result, BaseException):
            raise result
        else:
            yield result


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
        return row
    message = f"{summary.unreadable} unreadable patches left out" if summary.unreadable else ""
    done = replace(row, patches=summary.patches, unreadable=summary.unreadable, dim=summary.dim)
    if summary.patches == 0:
        return replace(done, status="empty", message="the slide has no tissue patch")
    return replace(done, status="done", message=message)


def _run_lane(
    jobs: Iterator[SlideJob],
    config: ExtractConfig,
    encoder: Encoder,
    device: torch.device,
    precision: str,
    wanted: Extraction,
    share: int = 1,
) -> Iterator[Outcome]:
    workers = reading_workers(config.workers, encoder, device, share)
    readers_encode = encoder.cheap and device.type == "cpu" and precision == "float32" and workers > 0
    target = DeviceEncoder(encoder, device, precision, config.batch_size, config.compile)
    with ChunkFeed(workers, request_of(config) if readers_encode else None, config.batch_size) as feed:
        yield from Lane(target, feed, wanted, precision, config.on_bad_tile).run(jobs)


def reading_workers(asked: int | None, encoder: Encoder, device: torch.device, share: int = 1) -> int:
    """Return how many reading processes one lane gets.

    A cheap encoder on a CPU runs in the readers, one per processor; any other one on a CPU needs the processors
    itself and gets one reader per four; a GPU gets all but one of the processors, at most 16.
    """
    processors = default_workers()
    if asked is not None:
        return asked if asked == 0 else max(asked // share, 1)
    if device.type == "cpu":
        return processors if encoder.cheap else max(processors // 4, 1)
    return max(min(processors - 1, 16 * share) // share, 1)


def _drain(shared: queue.SimpleQueue[SlideJob]) -> Iterator[SlideJob]:
    while True:
        try:
            yield shared.get_nowait()
        except queue.Empty:
            return


def _done(job: SlideJob, wanted: Extraction, overwrite: bool) -> bool:
    try:
        return is_done(job, wanted)
    except InputError:
        if overwrite:
            return False
        raise
    except WSI2DMambaError:
        return False  # the tile file is unreadable: the job itself will say so


def _skipped_row(job: SlideJob, wanted: Extraction) -> FeatureRow:
    with h5py.File(job.feature_path, "r") as file:
        patches, dim = file["features"].shape
    return FeatureRow(job.slide_id, wanted.encoder, int(patches), 0, int(dim), 0.0, "skipped", "done before")


def _one_line(error: BaseException | None) -> str:
    if error is None:
        return ""
    text = " ".join(str(error).split())
    return text if isinstance(error, WSI2DMambaError) else f"{type(error).__name__}: {text}"
