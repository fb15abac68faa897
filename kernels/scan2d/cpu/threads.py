"""A kernel on several threads, as many as torch uses.

The kernels take their tasks from a shared counter, so running one on k threads is calling it k times at
once. Plain Python threads do that (the kernels hold no GIL): unlike Numba's own pools they may be used from
several threads and after a fork, and follow `torch.set_num_threads`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch


@lru_cache(maxsize=1)
def _helpers(process: int, threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="scan2d")


def run_on_threads(kernel: Callable[..., Any], tasks: int, *arguments: Any) -> None:
    """Call ``kernel(counter, tasks, *arguments)`` on every thread and wait until all have returned."""
    counter = np.zeros(1, dtype=np.int64)
    helpers = min(torch.get_num_threads(), tasks) - 1
    if helpers < 1:
        kernel(counter, tasks, *arguments)
        return
    pool = _helpers(os.getpid(), helpers)
    running = [pool.submit(kernel, counter, tasks, *arguments) for _ in range(helpers)]
    kernel(counter, tasks, *arguments)
    for call in running:
        call.result()
