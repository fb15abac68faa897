"""Commands started as a user starts them, to be interrupted and killed by tests."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

# Every finished file waits before it gets its name, so that a test finds the process at work however fast it is.
_SLOW_FILES = """\
import pathlib, time
replace = pathlib.Path.replace
def waiting(self, target):
    time.sleep(0.3)
    return replace(self, target)
pathlib.Path.replace = waiting
"""


def environment(slow_files: Path | None = None) -> dict[str, str]:
    """Return the environment of a command: this checkout, one thread; with a folder given, it finishes files slowly."""
    paths = sys.path
    if slow_files is not None:
        slow_files.mkdir(exist_ok=True)
        (slow_files / "sitecustomize.py").write_text(_SLOW_FILES)
        paths = [str(slow_files), *paths]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def interruptible() -> dict[str, Any]:
    """Return the options of `Popen` for a command that hears Ctrl-C, in a group of its own.

    A shell starts what runs in its background deaf to Ctrl-C, and its children inherit that: so the tests' own
    processes may be.
    """
    return {"start_new_session": True, "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
