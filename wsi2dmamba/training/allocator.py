"""glibc's allocator, told to keep the pages that a training step frees for the next one."""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # numbers of mallopt(3)
_KEPT_BYTES = 2**30
_OLDER_GLIBC_BYTES = 2**25  # the largest mmap threshold it takes


def keep_freed_pages() -> bool:
    """Keep up to 1 GiB of freed memory in this process; returns whether the allocator could be told so.

    By default glibc maps every large tensor afresh and unmaps it when it is freed, or returns the top of the heap. On
    the CPU each page of each activation and gradient then costs a fault, and zeroing by the system, in every step;
    with grids of some thousand cells that was a third of the step. Elsewhere than on glibc nothing happens.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    kept: bool = mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES) == 1
    return kept and any(mallopt(_M_MMAP_THRESHOLD, size) == 1 for size in (_KEPT_BYTES, _OLDER_GLIBC_BYTES))
