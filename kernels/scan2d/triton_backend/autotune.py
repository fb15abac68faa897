"""Launch choices by measurement instead of by `table`: off unless asked for.

`SCAN2D_TRITON_AUTOTUNE=1`, or `enable()`, times the launches that a call could use the first time that its kind is
met (device, direction, types, sizes rounded up to powers of two) and keeps the fastest in a JSON file. Only launches of
kernels that ship are tried, so nothing else is compiled. Chained and separate strips round differently: with
tuning on, outputs of two machines may differ in their last bits, as gradients of one machine still do not.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import triton

from scan2d.triton_backend import table
from scan2d.triton_backend.device import device_of
from scan2d.triton_backend.problem import Problem
from scan2d.triton_backend.table import Launch

Run = Callable[[Launch], None]
Timer = Callable[[Callable[[], None]], float]
_LOG = logging.getLogger("scan2d")
_VARIABLE = "SCAN2D_TRITON_AUTOTUNE"


class Tuner:
    """Times candidates and remembers the fastest in a JSON file.

    Parameters
    ----------
    path : Path
        The file: for every kind of call the candidates with their microseconds, fastest first. Made when needed; one
        that cannot be read counts as empty, and one that cannot be written leaves the choice in memory.
    timer : callable
        Returns the seconds that a function takes; by default on the current GPU.
    """

    def __init__(self, path: Path, timer: Timer | None = None) -> None:
        self.path = path
        self._timer = seconds_on_device if timer is None else timer
        self._known = self._read()

    def choose(self, kind: str, candidates: Sequence[Launch], run: Run) -> Launch:
        """Return the fastest of the candidates for this kind of call, from the file if it is there."""
        if kind not in self._known:
            timed = [(self._timer(functools.partial(run, launch)), launch) for launch in candidates]
            timed.sort(key=lambda pair: pair[0])
            found = [{**asdict(launch), "microseconds": round(seconds * 1e6, 2)} for seconds, launch in timed]
            # Other processes may have written since.
            self._known = {**self._read(), kind: found}
            self._write()
        best = self._known[kind][0]
        return Launch(best["chained"], best["carried"], best["programs"])

    def _read(self) -> dict[str, list[dict[str, Any]]]:
        try:
            content = json.loads(self.path.read_text())
            return {kind: rows for kind, rows in content.items() if {"chained", "carried", "programs"} <= set(rows[0])}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, LookupError, TypeError) as error:
            _LOG.warning("launch choices in %s cannot be read, measuring again: %s", self.path, error)
            return {}

    def _write(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self.path.parent, delete=False) as file:
                json.dump(self._known, file, indent=1)
            Path(file.name).replace(self.path)
        except OSError as error:
            _LOG.warning("launch choices cannot be kept in %s: %s", self.path, error)


def enable(path: str | os.PathLike[str] | None = None) -> None:
    """Choose launches by measurement from now on, in this process and those it starts.

    Parameters
    ----------
    path : path, optional
        JSON file of what was measured, by default `scan2d/launches.json` in the user's cache folder.
    """
    os.environ[_VARIABLE] = "1" if path is None else os.fspath(path)


def disable() -> None:
    """Choose launches by the table again."""
    os.environ.pop(_VARIABLE, None)


def choose(p: Problem, direction: str, run: Run) -> Launch:
    """Return the launch for a call: the table's, unless tuning is on and there is something to choose.

    Parameters
    ----------
    p : Problem
    direction : str
        "forward" or "backward".
    run : callable
        Does the whole direction with the launch it is given; may be called often.
    """
    device = device_of(p.u.device)
    blocks = p.batch * p.channel_blocks(p.tile.forward_channels)
    by_table = table.default_launch(blocks, p.strips, p.width, p.has_mask, device)
    asked = os.environ.get(_VARIABLE, "")
    options = candidates(direction, p.strips, p.has_mask)
    if asked in ("", "0") or os.environ.get("SCAN2D_TRITON_CHAIN") or len(options) < 2 or _capturing():
        return by_table
    return _tuner(_default_path() if asked == "1" else Path(asked)).choose(kind_of(p, direction), options, run)


def candidates(direction: str, strips: int, has_mask: bool) -> list[Launch]:
    """Return the launches that this direction could use."""
    programs = table.PROGRAMS_PER_MULTIPROCESSOR
    carried = (False, True) if strips > 2 else (False,)
    if direction == "forward":
        chained = [] if has_mask else [Launch(True, False, programs)]
        return chained + [Launch(False, c, programs) for c in carried]
    return [Launch(False, c, n) for c in carried for n in (programs // 2, programs, 2 * programs)]


def kind_of(p: Problem, direction: str) -> str:
    """Return what decides how fast a launch is, in words; sizes of grids are rounded up to powers of two."""
    name = torch.cuda.get_device_name(p.u.device) if p.u.device.type == "cuda" else p.u.device.type
    height, width = triton.next_power_of_2(p.height), triton.next_power_of_2(p.width)
    words = [name, f"triton {triton.__version__}", direction, str(p.u.dtype).removeprefix("torch.")]
    words += [f"batch {triton.next_power_of_2(p.batch)}", f"dim {p.dim}/{p.groups}", f"N {p.states}"]
    words += [f"grid {height}x{width}", *(["mask"] if p.has_mask else []), *(["lengths"] if p.ragged else [])]
    return ", ".join(words)


def seconds_on_device(call: Callable[[], None], rounds: int = 5) -> float:
    """Return the median time of a call on the current GPU, after two that are not counted (they compile)."""
    times = []
    for done in range(rounds + 2):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        call()
        end.record()
        end.synchronize()
        if done >= 2:
            times.append(begin.elapsed_time(end) / 1e3)
    return statistics.median(times)


@functools.lru_cache(maxsize=4)
def _tuner(path: Path) -> Tuner:
    return Tuner(path)


def _default_path() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "scan2d" / "launches.json"


def _capturing() -> bool:
    """Whether a CUDA graph is being recorded, in which nothing can be timed."""
    return torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()
