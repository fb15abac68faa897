"""One progress display for every long command: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_PLAIN_LINE_EVERY_S = 30.0


def track(iterable: Iterable[T], total: int, label: str, unit: str = "slides") -> Iterator[T]:
    """Pass `iterable` on while showing how far it is, its rate and the time left.

    Parameters
    ----------
    iterable
        What to go through.
    total
        How many items it holds.
    label
        What is being done, e.g. ``"tile"``.
    unit
        What one item is, in the plural.
    """
    if total == 0:
        return
    if sys.stderr.isatty():
        yield from _track_with_bar(iterable, total, label, unit)
    else:
        yield from _track_with_lines(iterable, total, label, unit)


def _track_with_bar(iterable: Iterable[T], total: int, label: str, unit: str) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(label, total=total, rate="")
        started = time.monotonic()
        for done, item in enumerate(iterable, start=1):
            yield item
            rate = done / max(time.monotonic() - started, 1e-9)
            progress.update(task, completed=done, rate=f"{rate:.2g} {unit}/s")


def _track_with_lines(iterable: Iterable[T], total: int, label: str, unit: str) -> Iterator[T]:
    started = last = time.monotonic()
    for done, item in enumerate(iterable, start=1):
        yield item
        now = time.monotonic()
        if now - last >= _PLAIN_LINE_EVERY_S or done == total:
            last = now
            rate = done / max(now - started, 1e-9)
            left = (total - done) / rate
            print(
                f"{label}: {done}/{total} {unit}, {rate:.2g}/s, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )
