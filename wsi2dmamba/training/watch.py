"""How far trainings in other processes are: each leaves the number of its finished epochs in a small file."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from wsi2dmamba.core.progress import track

PROGRESS = "progress.txt"
_POLL_S = 0.5


def tell_progress(folder: Path, epoch: int) -> None:
    """Leave word in a fold's folder that `epoch` epochs are done. Only a display reads it: no care is taken."""
    (folder / PROGRESS).write_text(str(epoch), encoding="ascii")


@contextmanager
def show_epochs(folders: Sequence[Path], epochs: Sequence[int]) -> Iterator[None]:
    """Show a bar (or lines, where there is no terminal) over the epochs of all trainings inside the block.

    Parameters
    ----------
    folders
        The folders of the trainings.
    epochs
        How many epochs each has; one that stops early counts in full once its predictions are there.
    """
    stop = threading.Event()

    def watch() -> None:
        for _ in track(_finished(folders, epochs, stop), total=sum(epochs), label="train", unit="epochs"):
            pass

    watcher = threading.Thread(target=watch, daemon=True, name="epochs")
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()


def _finished(folders: Sequence[Path], epochs: Sequence[int], stop: threading.Event) -> Iterator[int]:
    shown = 0
    while shown < sum(epochs):
        stopping = stop.wait(_POLL_S)
        done = sum(_epochs_done(folder, total) for folder, total in zip(folders, epochs, strict=True))
        yield from range(shown, done)
        shown = max(shown, done)
        if stopping:
            return


def _epochs_done(folder: Path, total: int) -> int:
    if (folder / "predictions.csv").is_file():
        return total
    with suppress(OSError, ValueError):
        return min(int((folder / PROGRESS).read_text(encoding="ascii")), total)
    return 0
