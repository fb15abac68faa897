"""HDF5 files that are made in memory and written whole."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from wsi2dmamba.core.errors import StoreError
from wsi2dmamba.core.files import atomic_path


@contextmanager
def new_hdf5(path: Path) -> Iterator[h5py.File]:
    """Yield an empty HDF5 file; write it to `path` when the block ends without an error, whole or not at all.

    HDF5 must not meet a full disk itself: it complains from its destructors and crashes the process at its end.

    Raises
    ------
    StoreError
        If the disk is full or refuses.
    """
    image = io.BytesIO()  # not HDF5's own memory driver, whose gaps hold whatever was there before
    with h5py.File(image, "w") as file:
        yield file
    try:
        with atomic_path(path) as partial:
            partial.write_bytes(image.getbuffer())
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}; make room and run again") from error
