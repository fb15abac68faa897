"""Locks: one holder at a time, and none that outlives its holder."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

from wsi2dmamba.slides.locks import held, holder_of


def test_second_holder_is_told_no(tmp_path: Path) -> None:
    lock = tmp_path / "locks" / "a.lock"
    with held(lock) as first:
        assert first and f"process {os.getpid()}" in str(holder_of(lock))
        with held(lock) as second:
            assert not second
        assert lock.exists()
    assert not lock.exists() and holder_of(lock) is None
    with held(lock) as again:
        assert again


def test_lock_of_a_dead_process_is_stale(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    owner = {"host": socket.gethostname(), "pid": 2**22 - 1, "started": 1.0}
    lock.write_text(json.dumps(owner))
    assert holder_of(lock) is None
    with held(lock) as mine:
        assert mine
    # The number alone is not enough: another process may have it now.
    lock.write_text(json.dumps(owner | {"pid": os.getpid()}))
    assert holder_of(lock) is None


def test_lock_of_another_machine_counts_while_it_is_renewed(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    lock.write_text(json.dumps({"host": "elsewhere", "pid": 1, "started": 1.0}))
    assert holder_of(lock) == "process 1 on elsewhere"
    os.utime(lock, (time.time() - 3600,) * 2)
    assert holder_of(lock) is None


def test_lock_cut_short_by_a_crash_is_stale(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    lock.write_text('{"host": "x')
    os.utime(lock, (time.time() - 60,) * 2)
    with held(lock) as mine:
        assert mine


def test_lock_of_a_killed_process_that_nobody_buried_is_stale(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = psutil.Process(child.pid).create_time()
    lock.write_text(json.dumps({"host": socket.gethostname(), "pid": child.pid, "started": started}))
    assert holder_of(lock) == f"process {child.pid} on {socket.gethostname()}"
    child.kill()
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert holder_of(lock) is None
    child.communicate()
