"""Features through the system's page cache: the file is mapped once, and every read is one copy in memory.

Only files whose features are stored as they are (this project's own; HDF5 without a filter) can be mapped.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class MappedFeatures:
    """Where the rows of a feature matrix lie in a mapped file.

    Attributes
    ----------
    blocks
        Views of (rows, D) on the mapped file, in order; together they are the matrix.
    grid, grid_shape
        As in `Bag`.
    """

    blocks: tuple[NDArray[np.floating], ...]
    grid: Tensor
    grid_shape: tuple[int, int]

    def read(self) -> NDArray[np.floating]:
        """Return a copy of the (N, D) features, as stored."""
        return np.concatenate(self.blocks) if len(self.blocks) > 1 else np.array(self.blocks[0])


def map_blocks(path: Path) -> tuple[NDArray[np.floating], ...] | None:
    """Return views on the rows of `features` in a mapped file.

    Returns
    -------
    tuple of numpy.ndarray, or None
        None if the features are compressed or divided into chunks by column: such files cannot be mapped.
    """
    with h5py.File(path, "r") as file:
        dataset = file["features"]
        if dataset.dtype.kind != "f" or not dataset.dtype.isnative:
            return None
        rows, dim = dataset.shape
        if dataset.chunks is None:
            places = [(0, rows, dataset.id.get_offset())] if dataset.id.get_offset() is not None else None
        else:
            places = _chunk_places(dataset, rows, dim)
        dtype = dataset.dtype
    if places is None:
        return None
    mapped = np.memmap(path, mode="r", dtype=np.uint8)
    row_bytes = dim * dtype.itemsize
    return tuple(
        mapped[offset : offset + count * row_bytes].view(dtype).reshape(count, dim) for _, count, offset in places
    )


def _chunk_places(dataset: h5py.Dataset, rows: int, dim: int) -> list[tuple[int, int, int]] | None:
    if dataset.compression is not None or dataset.shuffle or dataset.fletcher32 or dataset.chunks[1] != dim:
        return None
    chunks = [dataset.id.get_chunk_info(index) for index in range(dataset.id.get_num_chunks())]
    places = [
        (info.chunk_offset[0], min(dataset.chunks[0], rows - info.chunk_offset[0]), info.byte_offset) for info in chunks
    ]
    places.sort()
    # A chunk that was never written has no place in the file.
    return places if sum(count for _, count, _ in places) == rows else None
