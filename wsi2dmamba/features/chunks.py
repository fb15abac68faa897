"""A run of patches of one slide: the unit that a reading process reads, and (with a cheap encoder) encodes."""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing import shared_memory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.features.reading import read_patches_of
from wsi2dmamba.slides.lattice import Lattice
from wsi2dmamba.slides.reader import Backend
from wsi2dmamba.slides.tilefile import TileGeometry

if TYPE_CHECKING:
    from wsi2dmamba.features.encoders import Encoder, EncoderRequest


@dataclass(frozen=True)
class Chunk:
    """Which patches to read.

    Attributes
    ----------
    slide_path
        The slide file; empty when there is nothing to read.
    geometry
        How its patches were laid out.
    coords
        (n, 2) int64 level-0 corners.
    reader
        Slide reader to insist on, or ``auto``.
    """

    slide_path: str
    geometry: TileGeometry
    coords: NDArray[np.int64]
    reader: Backend = "auto"

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the patches: (n, px, px, 3)."""
        side = self.geometry.patch_px
        return (len(self.coords), side, side, 3)


@dataclass(frozen=True)
class ChunkResult:
    """What became of a chunk.

    Attributes
    ----------
    readable
        (n,) bool; False where the slide is damaged.
    patches
        (n, px, px, 3) uint8, or None when they were left in shared memory or encoded already.
    features
        (n, dim), or None when the patches are still to be encoded.
    """

    readable: NDArray[np.bool_]
    patches: NDArray[np.uint8] | None = None
    features: NDArray[np.floating] | None = None


NOTHING = Chunk("", TileGeometry("", 1.0, 1.0, 1, 1, 0, Lattice((0, 0), 1, (1, 1)), (1, 1)), np.empty((0, 2), np.int64))
"""Takes the place of a chunk that need not be read, so that order is kept."""

# Patches read by one process at a time, and the side of the square of cells that holds so many.
CHUNK_PATCHES = 256
_BLOCK_CELLS = 16

# One copy of the encoder per process, loaded at its first chunk.
_encoders: dict[EncoderRequest, Encoder] = {}


def reading_order(grid: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the (N,) order in which patches at the (row, col) cells `grid` are read: block by block.

    Patches across stored tiles share them with their neighbours. Of a wide slide a chunk in row-major order is a strip
    of one row, and every tile would be decoded for the rows above and below it; a square block shares only its border.
    """
    rows, cols = grid[:, 0], grid[:, 1]
    return np.lexsort((cols, rows, cols // _BLOCK_CELLS, rows // _BLOCK_CELLS)).astype(np.int64)


def read_chunk(chunk: Chunk) -> ChunkResult:
    """Read a chunk and return its patches."""
    patches, readable = read_patches_of(chunk.slide_path, chunk.geometry, chunk.coords, chunk.reader)
    return ChunkResult(readable, patches=patches)


def read_chunk_into(chunk: Chunk, memory_name: str) -> ChunkResult:
    """Read a chunk into the shared memory block of that name."""
    block = _attach(memory_name)
    try:
        target = np.ndarray(chunk.shape, dtype=np.uint8, buffer=block.buf)
        patches, readable = read_patches_of(chunk.slide_path, chunk.geometry, chunk.coords, chunk.reader)
        target[...] = patches
        del target
    finally:
        block.close()
    return ChunkResult(readable)


def encode_chunk(chunk: Chunk, request: EncoderRequest, batch_size: int) -> ChunkResult:
    """Read a chunk and encode it in this process, on one thread."""
    encoder = _encoder_here(request)
    patches, readable = read_patches_of(chunk.slide_path, chunk.geometry, chunk.coords, chunk.reader)
    return ChunkResult(readable, features=encode_array(encoder, patches, batch_size))


def encode_array(encoder: Encoder, patches: NDArray[np.uint8], batch_size: int) -> NDArray[np.float32]:
    """Return the (n, dim) float32 features of (n, px, px, 3) patches, computed on the CPU."""
    import torch

    parts = [encoder.encode(batch).to(torch.float32) for batch in torch.from_numpy(patches).split(batch_size)]
    return torch.cat(parts).numpy()


def _encoder_here(request: EncoderRequest) -> Encoder:
    if request not in _encoders:
        import torch

        from wsi2dmamba.features.encoders import load_encoder

        torch.set_num_threads(1)
        _encoders[request] = load_encoder(request)
    return _encoders[request]


def _attach(name: str) -> Any:
    # The parent made the block and removes it; this process must neither track nor remove it.
    try:
        return shared_memory.SharedMemory(name=name, track=False)  # type: ignore[call-arg]
    except TypeError:  # Python before 3.13: spawned children share the parent's tracker, so nothing is removed early
        return shared_memory.SharedMemory(name=name)
