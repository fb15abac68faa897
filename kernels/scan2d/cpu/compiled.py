"""How the kernels of this package are compiled: without the GIL, and cached on disk."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit

logger = logging.getLogger("scan2d")


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a kernel part that other kernels call; only the entry points need a cache of their own."""
    return njit(nogil=True, error_model="numpy")(function)


def entry_point(function: Callable[..., Any]) -> Any:
    """Compile a kernel that Python calls, and keep the machine code on disk for the next process.

    The cache lies beside the sources, or in the user's cache directory where those are read-only
    (``NUMBA_CACHE_DIR`` overrides both). With nowhere to write, every process compiles anew.
    """
    try:
        kernel = njit(nogil=True, error_model="numpy", cache=True)(function)
    except RuntimeError as error:
        logger.warning(
            "the CPU kernels compile in every process (some seconds): their cache cannot be written: %s; "
            "set NUMBA_CACHE_DIR to a writable directory",
            error,
        )
        return compiled(function)
    _stamp_with_all_sources(kernel)
    return kernel


def _stamp_with_all_sources(kernel: Any) -> None:
    """Let the cache expire when any file of the CPU kernels changes.

    Numba looks only at the file of the entry point, but that file's machine code contains the others.
    Should a future Numba rename these attributes, its own rule stays.
    """
    cache_file: Any = getattr(getattr(kernel, "_cache", None), "_cache_file", None)
    if hasattr(cache_file, "_source_stamp"):
        cache_file._source_stamp = (cache_file._source_stamp, _sources_digest())


@cache
def _sources_digest() -> str:
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for path in sorted([*package.glob("cpu/*.py"), *package.glob("wavefront/*.py")]):
        digest.update(path.read_bytes())
    return digest.hexdigest()
