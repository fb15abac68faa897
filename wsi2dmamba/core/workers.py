"""Tasks over worker processes, where one bad task never ends the run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Generic, TypeVar

from wsi2dmamba.core.processes import kill_pool, spawn_pool

Task = TypeVar("Task")
Value = TypeVar("Value")


@dataclass(frozen=True)
class TaskOutcome(Generic[Task, Value]):
    """What became of one task: `value`, or the `error` that stopped it."""

    task: Task
    value: Value | None
    error: BaseException | None
    seconds: float


def default_workers() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_tasks(
    function: Callable[[Task], Value], tasks: Sequence[Task], workers: int
) -> Iterator[TaskOutcome[Task, Value]]:
    """Run `function` on every task and yield each outcome as it comes.

    Parameters
    ----------
    function
        A function at module level (it is sent to spawned processes when `workers` > 1).
    tasks
        Its arguments.
    workers
        Number of processes; with 1 everything runs in this process.

    Yields
    ------
    TaskOutcome
        In the order of completion. An exception raised by `function` is the task's `error`; so is the death of
        a worker process: the tasks it took down are tried once more, each alone, so that only the culprit fails.
    """
    if workers <= 1 or len(tasks) <= 1:
        for task in tasks:
            yield run_here(function, task)
        return
    suspects: list[Task] = []
    for outcome in _run_in_pool(function, tasks, min(workers, len(tasks))):
        if isinstance(outcome.error, BrokenProcessPool):
            suspects.append(outcome.task)
        else:
            yield outcome
    for task in suspects:
        yield from _run_in_pool(function, [task], 1)


def run_here(function: Callable[[Task], Value], task: Task) -> TaskOutcome[Task, Value]:
    """Run one task in this process; its failure becomes its outcome."""
    started = time.monotonic()
    try:
        value = function(task)
    except Exception as error:  # the one place where a task's failure becomes data
        return TaskOutcome(task, None, error, time.monotonic() - started)
    return TaskOutcome(task, value, None, time.monotonic() - started)


def _run_in_pool(
    function: Callable[[Task], Value], tasks: Sequence[Task], workers: int
) -> Iterator[TaskOutcome[Task, Value]]:
    pool = spawn_pool(workers)
    try:
        pending: dict[Future[TaskOutcome[Task, Value]], Task] = {}
        waiting = iter(tasks)
        exhausted = False
        while pending or not exhausted:
            while not exhausted and len(pending) < 2 * workers:
                task = next(waiting, None)
                if task is None:
                    exhausted = True
                    break
                try:
                    pending[pool.submit(run_here, function, task)] = task
                except BrokenProcessPool as error:
                    yield TaskOutcome(task, None, error, 0.0)
            finished, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                task = pending.pop(future)
                died = future.exception()
                yield TaskOutcome(task, None, died, 0.0) if died else future.result()
    except BaseException:  # Ctrl-C, or nobody listens any more: what runs now would run on for hours
        kill_pool(pool)
        raise
    pool.shutdown()
