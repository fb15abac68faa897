"""Where the slides of a run are encoded: one device, several, or the workers of a Dask cluster."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from wsi2dmamba.core.executors import Executor
from wsi2dmamba.core.staging import Stager
from wsi2dmamba.core.workers import TaskOutcome, default_workers
from wsi2dmamba.features.config import ExtractConfig
from wsi2dmamba.features.device import DeviceEncoder, resolve_devices
from wsi2dmamba.features.encoders import Encoder, EncoderRequest, load_encoder
from wsi2dmamba.features.feed import ChunkFeed
from wsi2dmamba.features.jobs import Extraction, SlideJob
from wsi2dmamba.features.lane import Lane, SlideSummary

Outcome = TaskOutcome[SlideJob, SlideSummary]

_MOST_READERS = 16
_READING_THREADS = 4


@dataclass(frozen=True)
class Setup:
    """All that a lane needs besides its device.

    Attributes
    ----------
    config
        The run's settings.
    precision
        Resolved: never ``auto``.
    wanted
        Identity of the features.
    """

    config: ExtractConfig
    precision: str
    wanted: Extraction


@dataclass(frozen=True)
class RemoteTask:
    """One slide for a worker of a cluster."""

    job: SlideJob
    setup: Setup


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


def run_here(jobs: list[SlideJob], setup: Setup, encoder: Encoder, devices: list[torch.device]) -> Iterator[Outcome]:
    """Yield the outcome of every job, encoding on every device of this machine at once."""
    if len(devices) == 1:
        yield from _run_lane(iter(jobs), setup, encoder, devices[0])
        return
    # One thread per device: readers are processes, and torch lets go of the interpreter while a GPU works.
    shared: queue.SimpleQueue[SlideJob] = queue.SimpleQueue()
    for job in jobs:
        shared.put(job)
    results: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()

    def work(device: torch.device, own: Encoder) -> None:
        try:
            for outcome in _run_lane(_drain(shared), setup, own, device, share=len(devices)):
                results.put(outcome)
        except BaseException as error:  # carried to the main thread, which raises it
            results.put(error)
        finally:
            results.put(None)

    encoders = [encoder, *(load_encoder(request_of(setup.config)) for _ in devices[1:])]
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


def run_remotely(jobs: list[SlideJob], setup: Setup, executor: Executor) -> Iterator[Outcome]:
    """Yield the outcome of every job, one task per slide on the workers of a cluster."""
    for outcome in executor.run(encode_slide, [RemoteTask(job, setup) for job in jobs]):
        yield TaskOutcome(outcome.task.job, outcome.value, outcome.error, outcome.seconds)


# Encoder on its device, one per thread of a cluster's worker: loaded once, used for every slide it is given.
_loaded = threading.local()


def encode_slide(task: RemoteTask) -> SlideSummary:
    """Encode one slide in this process. Runs on the workers of a cluster, which may start no processes of their own."""
    setup, config = task.setup, task.setup.config
    key = (request_of(config), setup.precision, config.devices)
    if getattr(_loaded, "key", None) != key:
        device = resolve_devices(config.devices[:1])[0]
        encoder = load_encoder(request_of(config))
        _loaded.target = DeviceEncoder(encoder, device, setup.precision, config.batch_size, config.compile)
        _loaded.key = key
    threads = min(_READING_THREADS, default_workers())
    with ChunkFeed(0, threads=threads) as feed, Stager(config.cache) as stager:
        lane = Lane(_loaded.target, feed, setup.wanted, setup.precision, config.on_bad_tile, stager)
        outcome = next(lane.run([task.job]))
    if outcome.value is None:
        raise outcome.error or RuntimeError("no outcome")
    return outcome.value


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
    return max(min(processors - 1, _MOST_READERS * share) // share, 1)


def _run_lane(
    jobs: Iterator[SlideJob], setup: Setup, encoder: Encoder, device: torch.device, share: int = 1
) -> Iterator[Outcome]:
    config = setup.config
    workers = reading_workers(config.workers, encoder, device, share)
    readers_encode = encoder.cheap and device.type == "cpu" and setup.precision == "float32" and workers > 0
    target = DeviceEncoder(encoder, device, setup.precision, config.batch_size, config.compile)
    with (
        ChunkFeed(workers, request_of(config) if readers_encode else None, config.batch_size) as feed,
        Stager(config.cache) as stager,
    ):
        yield from Lane(target, feed, setup.wanted, setup.precision, config.on_bad_tile, stager).run(jobs)


def _drain(shared: queue.SimpleQueue[SlideJob]) -> Iterator[SlideJob]:
    while True:
        try:
            yield shared.get_nowait()
        except queue.Empty:
            return
