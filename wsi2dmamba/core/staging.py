"""Slides on a slow network drive, copied to a local disk just before they are needed and removed after."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from wsi2dmamba.core.files import make_folder, process_lives

log = logging.getLogger(__name__)

Item = TypeVar("Item")

# Left free on the local disk, so that staging never fills it for others.
_SPARE_BYTES = 1 << 30
_FOLDER = "wsi2dmamba-cache"


class Stager(AbstractContextManager["Stager"]):
    """Copies slides ahead of their use.

    Parameters
    ----------
    folder
        A folder on a fast local disk; None stages nothing.
    ahead
        How many slides are copied before the one in use is finished.

    Notes
    -----
    A slide that does not fit, or whose copy fails, is read where it is. MIRAX slides are copied with their folder,
    DICOM folders whole. What a killed process left behind is removed by the next one.
    """

    def __init__(self, folder: Path | None, ahead: int = 2) -> None:
        self._ahead = ahead
        self._copies: dict[Path, Path] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._folder: Path | None = None
        if folder is not None:
            _remove_abandoned(make_folder(folder))
            self._folder = make_folder(folder / f"{_FOLDER}-{os.getpid()}-{id(self):x}")
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="stage")

    def staged(
        self, items: Iterable[Item], path_of: Callable[[Item], Path | None]
    ) -> Iterator[tuple[Item, Path | None]]:
        """Yield every item with the path to read it from, copying the next ones meanwhile.

        Parameters
        ----------
        items
            What to go through, e.g. slides.
        path_of
            Where an item lies; None for one that has no file.
        """
        if self._pool is None:
            yield from ((item, path_of(item)) for item in items)
            return
        waiting: deque[tuple[Item, Future[Path | None]]] = deque()
        for number, item in enumerate(items):
            waiting.append((item, self._pool.submit(self._copy, path_of(item), number)))
            if len(waiting) > self._ahead:
                first, future = waiting.popleft()
                yield first, future.result()
        for item, future in waiting:
            yield item, future.result()

    def release(self, path: Path | None) -> None:
        """Remove the copy at `path`; the paths of slides that were not copied are left alone."""
        holder = self._copies.pop(path, None) if path is not None else None
        if holder is not None:
            shutil.rmtree(holder, ignore_errors=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove every copy."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _copy(self, path: Path | None, number: int) -> Path | None:
        if path is None or self._folder is None:
            return path
        holder = self._folder / str(number)
        try:
            parts = [path, *_companions(path)]
            if _size(parts) + _SPARE_BYTES > shutil.disk_usage(self._folder).free:
                log.info("%s does not fit into the cache and is read where it is", path)
                return path
            holder.mkdir()
            for part in parts:
                if part.is_dir():
                    shutil.copytree(part, holder / part.name)
                else:
                    shutil.copyfile(part, holder / part.name)
        except OSError as error:
            log.warning("%s cannot be copied to the cache (%s) and is read where it is", path, error.strerror)
            shutil.rmtree(holder, ignore_errors=True)
            return path
        copy = holder / path.name
        self._copies[copy] = holder
        return copy


def _companions(path: Path) -> list[Path]:
    folder = path.with_suffix("")
    return [folder] if path.suffix.lower() == ".mrxs" and folder.is_dir() else []


def _size(parts: list[Path]) -> int:
    files = (file for part in parts for file in (part.rglob("*") if part.is_dir() else [part]))
    return sum(file.stat().st_size for file in files if file.is_file())


def _remove_abandoned(folder: Path) -> None:
    for leftover in folder.glob(f"{_FOLDER}-*"):
        owner = re.match(rf"{_FOLDER}-(\d+)-", leftover.name)
        if owner and not process_lives(int(owner.group(1))):
            shutil.rmtree(leftover, ignore_errors=True)
