"""Chunks read ahead of their use, in order, by processes of their own, with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, replace
from multiprocessing import shared_memory
from types import TracebackType
from typing import Generic, TypeVar

import numpy as np

from wsi2dmamba.core.errors import SlideError
from wsi2dmamba.core.processes import kill_pool, spawn_pool
from wsi2dmamba.features.chunks import Chunk, ChunkResult, encode_chunk, read_chunk, read_chunk_into
from wsi2dmamba.features.encoders.options import EncoderRequest

Tag = TypeVar("Tag")


@dataclass
class Fed(Generic[Tag]):
    """A chunk that arrived, or the error that stopped it. `result.patches` is only valid until the next one."""

    tag: Tag
    result: ChunkResult | None
    error: BaseException | None


@dataclass
class _Waiting(Generic[Tag]):
    tag: Tag
    chunk: Chunk
    future: Future[ChunkResult]
    memory: shared_memory.SharedMemory | None


class ChunkFeed(AbstractContextManager["ChunkFeed"]):
    """Reads chunks ahead.

    Parameters
    ----------
    workers
        Reading processes; 0 reads in one thread of this process (and never encodes there).
    encode_with
        Encoder that the reading processes apply themselves (a cheap one on a CPU), or None: pixels are handed over
        in shared memory.
    batch_size
        Patches per forward pass of that encoder.
    threads
        With no workers: how many threads of this process read.

    Notes
    -----
    At most ``2 · workers + 1`` (or threads + 1) chunks are under way, so memory does not grow with slides. When a
    process dies (a broken slide can crash a native decoder) the chunks under way are tried again one at a time; the
    one that brings its process down again is that slide's error.
    """

    def __init__(
        self, workers: int, encode_with: EncoderRequest | None = None, batch_size: int = 64, threads: int = 1
    ) -> None:
        self._workers = workers
        self._encode_with = encode_with
        self._batch_size = batch_size
        self._threads = threads
        self._pool: ProcessPoolExecutor | None = None
        self._thread: ThreadPoolExecutor | None = None
        self._free: list[shared_memory.SharedMemory] = []
        self._blocks: list[shared_memory.SharedMemory] = []

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the processes and give the shared memory back."""
        if self._pool is not None:
            kill_pool(self._pool)
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
        for block in self._blocks:
            with suppress(BufferError):  # someone still looks at the last patches; the block goes when they stop
                block.close()
            block.unlink()
        self._blocks.clear()
        self._free.clear()

    def stream(self, chunks: Iterable[tuple[Tag, Chunk]]) -> Iterator[Fed[Tag]]:
        """Yield every chunk in the order given, reading the next ones meanwhile."""
        source = iter(chunks)
        waiting: deque[_Waiting[Tag]] = deque()
        window = 2 * self._workers + 1 if self._workers else self._threads + 1
        exhausted = False
        while waiting or not exhausted:
            while not exhausted and len(waiting) < window:
                pair = next(source, None)
                if pair is None:
                    exhausted = True
                else:
                    waiting.append(self._submit(*pair))
            if not waiting:
                return
            head = waiting.popleft()
            try:
                result = head.future.result()
            except BrokenProcessPool:
                suspects = [head, *waiting]
                waiting.clear()
                yield from self._one_at_a_time(suspects)
                continue
            except Exception as error:  # the chunk's own failure travels as data
                self._release(head)
                yield Fed(head.tag, None, error)
                continue
            yield Fed(head.tag, self._with_patches(head, result), None)
            self._release(head)

    def _one_at_a_time(self, suspects: list[_Waiting[Tag]]) -> Iterator[Fed[Tag]]:
        for suspect in suspects:
            self._release(suspect)
        self._drop_pool()
        for suspect in suspects:
            again = self._submit(suspect.tag, suspect.chunk)
            try:
                fed = Fed(again.tag, self._with_patches(again, again.future.result()), None)
            except BrokenProcessPool:
                reason = "reading it brought a process down twice (a damaged slide, or too little memory)"
                fed = Fed(again.tag, None, SlideError(f"{suspect.chunk.slide_path}: {reason}"))
                self._drop_pool()
            except Exception as error:  # the chunk's own failure travels as data
                fed = Fed(again.tag, None, error)
            yield fed
            self._release(again)

    def _submit(self, tag: Tag, chunk: Chunk) -> _Waiting[Tag]:
        if not len(chunk.coords):
            nothing: Future[ChunkResult] = Future()
            nothing.set_result(ChunkResult(np.empty(0, dtype=bool)))
            return _Waiting(tag, chunk, nothing, None)
        if self._workers == 0:
            return _Waiting(tag, chunk, self._in_thread(chunk), None)
        memory = None if self._encode_with else self._block(int(np.prod(chunk.shape)))
        return _Waiting(tag, chunk, self._in_process(chunk, memory), memory)

    def _in_thread(self, chunk: Chunk) -> Future[ChunkResult]:
        self._thread = self._thread or ThreadPoolExecutor(self._threads, thread_name_prefix="read")
        return self._thread.submit(read_chunk, chunk)

    def _in_process(self, chunk: Chunk, memory: shared_memory.SharedMemory | None) -> Future[ChunkResult]:
        arguments = (chunk, memory.name) if memory else (chunk, self._encode_with, self._batch_size)
        function: Callable[..., ChunkResult] = read_chunk_into if memory else encode_chunk
        self._pool = self._pool or spawn_pool(self._workers)
        try:
            return self._pool.submit(function, *arguments)
        except BrokenProcessPool as error:
            broken: Future[ChunkResult] = Future()
            broken.set_exception(error)
            return broken

    def _with_patches(self, item: _Waiting[Tag], result: ChunkResult) -> ChunkResult:
        if item.memory is None:
            return result
        patches: np.ndarray = np.ndarray(item.chunk.shape, dtype=np.uint8, buffer=item.memory.buf)
        return replace(result, patches=patches)

    def _block(self, size: int) -> shared_memory.SharedMemory:
        for index, block in enumerate(self._free):
            if block.size >= size:
                return self._free.pop(index)
        if self._free:  # too small for this slide's patches: make room before taking more
            old = self._free.pop()
            self._blocks.remove(old)
            old.close()
            old.unlink()
        block = shared_memory.SharedMemory(create=True, size=size)
        self._blocks.append(block)
        return block

    def _release(self, item: _Waiting[Tag]) -> None:
        if item.memory is not None:
            self._free.append(item.memory)
            item.memory = None

    def _drop_pool(self) -> None:
        if self._pool is not None:
            kill_pool(self._pool)
        self._pool = None
