"""One slide, one run: locks that say who holds them, and that a crash does not leave behind for ever."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from wsi2dmamba.core.files import make_folder, process_lives

# A holder on another machine cannot be asked; it renews its lock, and one not renewed for so long is stale.
_RENEW_EVERY_S = 30.0
_STALE_AFTER_S = 300.0


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold the lock file `path` while the block runs.

    Yields
    ------
    bool
        False if someone else holds it: the block should leave its subject alone.
    """
    make_folder(path.parent)
    if not _take(path):
        yield False
        return
    done = threading.Event()
    renewing = threading.Thread(target=_renew, args=(path, done), daemon=True, name="renew-lock")
    renewing.start()
    try:
        yield True
    finally:
        done.set()
        renewing.join()
        path.unlink(missing_ok=True)


def holder_of(path: Path) -> str | None:
    """Return who holds a lock, in words, or None if nobody does (any more)."""
    try:
        age = time.time() - path.stat().st_mtime
        text = path.read_text(encoding="utf-8")
    except OSError:
        return None
    try:
        owner = json.loads(text)
        host, pid, started = str(owner["host"]), int(owner["pid"]), float(owner["started"])
    except (ValueError, KeyError, TypeError):
        # Cut short by a crash, or just being written.
        return "an unknown run" if age < 5 else None
    alive = process_lives(pid, started) if host == socket.gethostname() else age < _STALE_AFTER_S
    return f"process {pid} on {host}" if alive else None


def _take(path: Path) -> bool:
    for _ in range(3):
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            if holder_of(path) is not None:
                return False
            # Moved aside first: of two runs that find it stale only one moves it.
            aside = path.with_name(f"{path.name}.stale-{os.getpid()}")
            with suppress(FileNotFoundError):
                path.replace(aside)
                aside.unlink()
            continue
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            owner = {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}
            json.dump(owner, file)
        return True
    return False


def _renew(path: Path, done: threading.Event) -> None:
    while not done.wait(_RENEW_EVERY_S):
        with suppress(OSError):
            os.utime(path)
