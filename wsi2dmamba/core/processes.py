"""Worker processes that end with their parent and leave Ctrl-C to it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def spawn_pool(
    workers: int, initializer: Callable[..., None] | None = None, arguments: tuple[Any, ...] = ()
) -> ProcessPoolExecutor:
    """Return a pool of spawned processes.

    Spawned, not forked: OpenSlide, HDF5, CUDA and torch threads do not survive a fork. A worker whose parent was
    killed ends too; without that it would wait for work for ever and keep slides, memory and GPUs occupied.

    Parameters
    ----------
    workers
        Number of processes.
    initializer, arguments
        Called once in each process.
    """
    context = multiprocessing.get_context("spawn")
    return _Pool(workers, mp_context=context, initializer=_start_worker, initargs=(initializer, arguments))


class _Pool(ProcessPoolExecutor):
    """A pool whose processes never hear Ctrl-C, not even while they start.

    A terminal sends it to all of them; one that still imports its modules would answer with a traceback.
    """

    def submit(self, *arguments: Any, **keywords: Any) -> Any:
        """Submit a task. Processes are started here, and inherit what is blocked."""
        if not hasattr(signal, "pthread_sigmask"):  # Windows
            return super().submit(*arguments, **keywords)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(*arguments, **keywords)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def kill_pool(pool: ProcessPoolExecutor) -> None:
    """End a pool at once, whatever its processes are doing."""
    processes = list((getattr(pool, "_processes", None) or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(5)


def end_with_parent() -> None:
    """Leave this process as soon as the one that spawned it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_after, args=(parent,), daemon=True, name="end-with-parent").start()


def _leave_after(parent: Any) -> None:
    parent.join()
    os._exit(1)


def _start_worker(initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    if initializer is not None:
        initializer(*arguments)
