"""Freed memory stays in the process where the allocator is glibc's."""

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys
import numpy as np
from wsi2dmamba.training.allocator import keep_freed_pages

def faults_of_a_second_use():
    np.ones(2**22)  # 32 MiB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**22)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

assert keep_freed_pages()
sys.exit(faults_of_a_second_use() > 10)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is not glibc's")
def test_memory_freed_once_needs_no_new_pages() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_other_allocators_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from wsi2dmamba.training import allocator

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not allocator.keep_freed_pages()
