"""What the backend allocates. All arrays are float32 unless said otherwise.

Device memory beyond inputs, outputs and gradients, in bytes (b items, S = ⌈H/8⌉ strips, K = ⌈W/8⌉ chunks of columns,
N' = N rounded up to a multiple of 4, P channel blocks of 16, M multiprocessors):

- saved for the backward: h between strips 4·b·(S-1)·W·dim·N', and g between chunks 4·b·(K-1)·H·dim·N';
- forward: nothing saved, the states between strips only (one row of them, 4·b·W·dim·N', if programs chain
  strips); y before the gate, 4·b·H·W·dim, if it does not fit in the output (other types than float32) and is needed
  (not chained, or N > 16); on long narrow grids sums of Δ, 4·b·(S-1)·W·dim;
- backward: adjoint boundaries 4·b·(S-1)·W·dim·N', partial sums of dB and dC 8·b·H·W·N·P, of dA, dD and dbias
  4·b·S·(N+2)·dim, and 4·8·16·(9·16 + 8) for each of at most 4·M programs; on long narrow grids sums of Δ;
- if N > 16, float32 copies of du, ddelta and dz that the launches add into.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable

import torch
from torch import Tensor

from scan2d.triton_backend import table
from scan2d.triton_backend.problem import Problem
from scan2d.triton_backend.table import Launch


def saved_shape(batch: int, dim: int, groups: int, states: int, height: int, width: int) -> tuple[int, ...]:
    """Return the shape of what the forward saves: h above every strip but the first, g left of every chunk but that.

    A 1D scan (one row) is run as one column, so its strips are pieces of the sequence.
    """
    if isinstance(height, int) and height == 1:
        height, width = width, height
    rows, chunk = table.TILE_16.rows, table.TILE_16.chunk
    strips, chunks = (height + rows - 1) // rows, (width + chunk - 1) // chunk
    return (batch * ((strips - 1) * width + (chunks - 1) * height) * dim * 4 * ((states + 3) // 4),)


def edge_shape(p: Problem, strips: int) -> tuple[int, ...]:
    """Return the shape of the states on `strips` edges between strips."""
    return (p.batch, strips, p.width, p.dim, 4 * p.quads)


def split_saved(p: Problem, saved: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two parts of what the forward saves: h on the edges of strips, g at the left of chunks."""
    shape = edge_shape(p, p.strips - 1)
    edges = functools.reduce(operator.mul, shape)
    return saved[:edges].view(shape), saved[edges:]


def forward_workspace(p: Problem, launch: Launch, save: bool) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the float32 arrays that the forward allocates besides the output and what it saves."""
    sizes: dict[str, tuple[int, ...]] = {}
    if not save:
        sizes["edges"] = edge_shape(p, min(1, p.strips - 1) if launch.chained else p.strips - 1)
    if p.u.dtype != torch.float32 and (p.launches > 1 or not launch.chained):
        sizes["y"] = tuple(p.u.shape)
    if launch.carried and not launch.chained:
        sizes["step_sums"] = (p.batch, p.strips - 1, p.width, p.dim)
    return sizes


def backward_workspace(p: Problem, launch: Launch, programs: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the float32 arrays that the backward allocates besides the gradients."""
    cells = p.tile.chunk * p.tile.rows * p.tile.backward_channels
    sizes: dict[str, tuple[int, ...]] = {
        "edges": edge_shape(p, p.strips - 1),
        "input_parts": (2, p.channel_blocks(p.tile.backward_channels), p.batch, p.height, p.width, p.states),
        "parameter_parts": (p.batch * p.strips, p.states + 2, p.dim),
        "chunk": (programs, cells + p.tile.rows * p.tile.backward_channels, p.tile.states),
        "step_parts": (programs, cells),
    }
    if launch.carried:
        sizes["step_sums"] = (p.batch, p.strips - 1, p.width, p.dim)
    if p.launches > 1:
        for name in ("du", "ddelta", "dz"):
            sizes[name] = (p.batch, p.height, p.width, p.dim)
    return sizes


def allocate(like: Tensor, sizes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Allocate float32 arrays on the device of a tensor."""
    return {name: torch.empty(size, dtype=torch.float32, device=like.device) for name, size in sizes.items()}


def total_bytes(sizes: Iterable[tuple[int, ...]]) -> int:
    """Return the bytes of float32 arrays of these shapes."""
    return sum(4 * functools.reduce(operator.mul, size, 1) for size in sizes)
