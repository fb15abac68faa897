"""One device at work: slides in, feature files out, reading always ahead of the encoder."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from wsi2dmamba.core.errors import EncoderError, SlideError
from wsi2dmamba.core.staging import Stager
from wsi2dmamba.core.workers import TaskOutcome
from wsi2dmamba.features.chunks import CHUNK_PATCHES, NOTHING, Chunk, ChunkResult, reading_order
from wsi2dmamba.features.device import DeviceEncoder, stored_dtype
from wsi2dmamba.features.feed import ChunkFeed
from wsi2dmamba.features.jobs import Extraction, SlideJob, SlideLockedError, slide_of
from wsi2dmamba.features.store import FeatureFile, write_features
from wsi2dmamba.slides.locks import held, holder_of
from wsi2dmamba.slides.tilefile import TileFile, read_tile_file

# Finished slides that wait for the disk at most; their features are held in memory meanwhile.
_WRITES_UNDER_WAY = 2


@dataclass(frozen=True)
class SlideSummary:
    """What a finished slide gave.

    Attributes
    ----------
    patches
        Rows in the feature file.
    unreadable
        Patches left out because the slide is damaged there.
    dim
        Numbers per patch.
    """

    patches: int
    unreadable: int
    dim: int


@dataclass(eq=False)
class _OpenSlide:
    """A slide under way."""

    job: SlideJob
    tiles: TileFile | None = None
    slide_path: Path | None = None
    order: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    chunks_left: int = 0
    started: float = field(default_factory=time.monotonic)
    features: list[torch.Tensor] = field(default_factory=list)
    readable: list[NDArray[np.bool_]] = field(default_factory=list)
    error: BaseException | None = None
    lock: ExitStack = field(default_factory=ExitStack)


def _opened(job: SlideJob) -> _OpenSlide:
    slide = _OpenSlide(job)
    try:
        if not slide.lock.enter_context(held(job.lock_path)):
            raise SlideLockedError(f"{holder_of(job.lock_path) or 'another run'} is working on it")
        slide.tiles = read_tile_file(job.tile_path)
        slide.slide_path = slide_of(job, slide.tiles)
    except Exception as error:  # the slide's own boundary: what cannot be opened is reported, others go on
        slide.error = error
    return slide


class Lane:
    """Encodes slides one after another on one device.

    Parameters
    ----------
    encoder
        The encoder on its device.
    feed
        Where chunks come from.
    extraction
        Identity written to the files; its precision decides the stored dtype.
    precision
        ``float32``, ``float16`` or ``bfloat16``.
    on_bad_tile
        ``skip`` or ``fail``.
    stager
        Copies slides to a local disk ahead of their use; None reads them where they are.
    """

    def __init__(
        self,
        encoder: DeviceEncoder,
        feed: ChunkFeed,
        extraction: Extraction,
        precision: str,
        on_bad_tile: str = "skip",
        stager: Stager | None = None,
    ) -> None:
        self._encoder = encoder
        self._feed = feed
        self._extraction = extraction
        self._dtype = stored_dtype(precision)
        self._on_bad_tile = on_bad_tile
        self._stager = stager or Stager(None)
        self._open: list[_OpenSlide] = []

    def run(self, jobs: Iterable[SlideJob]) -> Iterator[TaskOutcome[SlideJob, SlideSummary]]:
        """Yield the outcome of every job, in order. A slide's failure is its outcome, never the end of the others."""
        writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        try:
            yield from self._run(jobs, writer)
        finally:
            writer.shutdown(wait=True)
            for slide in list(self._open):
                slide.lock.close()

    def _run(
        self, jobs: Iterable[SlideJob], writer: ThreadPoolExecutor
    ) -> Iterator[TaskOutcome[SlideJob, SlideSummary]]:
        # Files are written and flushed to disk by a thread of their own, so that the encoder never waits for a disk.
        finishing: deque[Future[TaskOutcome[SlideJob, SlideSummary]]] = deque()
        for fed in self._feed.stream(self._chunks(jobs)):
            slide = fed.tag
            slide.chunks_left -= 1
            slide.error = slide.error or fed.error
            if slide.error is None and fed.result is not None:
                try:
                    self._take(slide, fed.result)
                except (EncoderError, SlideError, RuntimeError) as error:
                    slide.error = error
            if slide.error is not None:
                slide.features.clear()
            if slide.chunks_left == 0:
                finishing.append(writer.submit(self._finish, slide))
            while finishing and (finishing[0].done() or len(finishing) > _WRITES_UNDER_WAY):
                yield finishing.popleft().result()
        for future in finishing:
            yield future.result()

    def _chunks(self, jobs: Iterable[SlideJob]) -> Iterator[tuple[_OpenSlide, Chunk]]:
        opened = (_opened(job) for job in jobs)
        for slide, local_path in self._stager.staged(opened, lambda slide: slide.slide_path):
            slide.slide_path = local_path
            self._open.append(slide)
            yield from self._chunks_of(slide)

    def _chunks_of(self, slide: _OpenSlide) -> Iterator[tuple[_OpenSlide, Chunk]]:
        tiles = slide.tiles
        if slide.error is not None or tiles is None or not len(tiles):
            slide.chunks_left = 1
            yield slide, NOTHING
            return
        slide.order = reading_order(tiles.grid)
        starts = range(0, len(tiles), CHUNK_PATCHES)
        slide.chunks_left = len(starts)
        for start in starts:
            if slide.error is not None:  # it failed meanwhile: pass the rest without reading it
                yield slide, NOTHING
            else:
                coords = tiles.coords[slide.order[start : start + CHUNK_PATCHES]]
                yield slide, Chunk(str(slide.slide_path), tiles.geometry, coords, slide.job.reader)

    def _take(self, slide: _OpenSlide, result: ChunkResult) -> None:
        bad = int((~result.readable).sum())
        if bad and self._on_bad_tile == "fail":
            raise SlideError(f"{slide.slide_path}: {bad} patches cannot be read; --on-bad-tile skip leaves them out")
        slide.readable.append(result.readable)
        if result.features is not None:
            slide.features.append(torch.from_numpy(result.features))
        elif result.patches is not None and len(result.patches):
            slide.features.append(self._encoder.encode(result.patches))

    def _finish(self, slide: _OpenSlide) -> TaskOutcome[SlideJob, SlideSummary]:
        summary = None
        if slide.error is None:
            try:
                summary = self._write(slide)
            except Exception as error:  # a full disk or a bad slide is that slide's outcome
                slide.error = error
        self._stager.release(slide.slide_path)
        self._open.remove(slide)
        slide.lock.close()
        return TaskOutcome(slide.job, summary, slide.error, time.monotonic() - slide.started)

    def _write(self, slide: _OpenSlide) -> SlideSummary:
        tiles = slide.tiles
        if tiles is None or not len(tiles):
            return SlideSummary(0, 0, self._encoder.encoder.info.dim)
        place = np.argsort(slide.order)  # where each patch of the tile file came
        readable = np.concatenate(slide.readable)[place]
        matrix = torch.cat(slide.features).to(torch.float32).cpu().numpy()[place[readable]]
        if not len(matrix):
            raise SlideError(f"{slide.slide_path}: none of its {len(tiles)} patches can be read")
        with np.errstate(over="ignore"):
            stored = matrix.astype(self._dtype)
        if not np.isfinite(stored).all():
            bad = int((~np.isfinite(stored).all(axis=1)).sum())
            raise EncoderError(f"{bad} of {len(stored)} features are NaN or too large; try --precision float32")
        kept = TileFile(
            coords=tiles.coords[readable],
            grid=tiles.grid[readable],
            tissue=tiles.tissue[readable],
            geometry=tiles.geometry,
            stamp=tiles.stamp,
            settings=tiles.settings,
        )
        made = self._extraction
        write_features(slide.job.feature_path, FeatureFile(stored, kept, made.encoder, made.revision, made.settings))
        return SlideSummary(len(stored), int((~readable).sum()), stored.shape[1])
