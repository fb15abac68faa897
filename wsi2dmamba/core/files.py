"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from wsi2dmamba.core.errors import InputError

PARTIAL_MARK = ".partial-"

# A file being written carries its owner: machine, process, and a number of its own.
_OWNER = re.compile(re.escape(PARTIAL_MARK) + r"([0-9a-f]{8})-(\d+)-[0-9a-f]{8}")
# The owner on another machine cannot be asked; nobody writes one file for so long.
_ABANDONED_AFTER_S = 3600.0
# The kernel tells when a process began only this exactly.
_SAME_START_S = 2.0


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Yield a temporary path beside `final`; move it there when the block ends without an error.

    Parameters
    ----------
    final
        Where the finished file shall stand. Missing parent folders are made.

    Yields
    ------
    Path
        A path in the same folder (so the move is one rename) with the same suffix.

    Raises
    ------
    InputError
        If the folder cannot be made or written to.

    Notes
    -----
    The data is flushed to disk before the rename, so a crash leaves either the old file or the new one. A name
    left over from a killed process carries `.partial-` and is never read.
    """
    make_folder(final.parent)
    # Names may have 255 bytes, a letter up to four.
    owner = f"{_this_host()}-{os.getpid()}-{secrets.token_hex(4)}"
    partial = final.with_name(f".{final.stem[:40]}{PARTIAL_MARK}{owner}{final.suffix}")
    try:
        yield partial
        _flush_to_disk(partial)
        partial.replace(final)
    finally:
        partial.unlink(missing_ok=True)


def make_folder(folder: Path) -> Path:
    """Make `folder` and its parents, and return it.

    Raises
    ------
    InputError
        If it cannot be made, naming the reason.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {error.strerror}; choose another place") from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"cannot write to the folder {folder}; change its permissions or choose another place")
    return folder


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all. NaN is refused: it is not JSON."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def remove_partials(folder: Path) -> None:
    """Delete what killed processes left half-written in `folder`; what live ones are writing stays."""
    for leftover in folder.glob(f".*{PARTIAL_MARK}*"):
        with suppress(OSError):  # its owner may have finished it just now
            if _is_abandoned(leftover):
                leftover.unlink()


def _is_abandoned(partial: Path) -> bool:
    owner = _OWNER.search(partial.name)
    if owner is not None and owner[1] == _this_host():
        return not process_lives(int(owner[2]))
    return time.time() - partial.stat().st_mtime > _ABANDONED_AFTER_S


def process_lives(pid: int, started: float | None = None) -> bool:
    """Tell whether a process of this machine has that number, and began at `started` (seconds since 1970) if given.

    One that was killed and not yet buried by its parent does not count.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return started is None or abs(process.create_time() - started) < _SAME_START_S
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


def _this_host() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
