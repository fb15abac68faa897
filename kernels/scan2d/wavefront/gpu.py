"""The wavefront scan on a GPU: sizes, workspace and launches of its kernels.

Device memory beyond inputs, outputs and gradients, in bytes (b items, S = ⌈H/8⌉ strips, P blocks of 16 channels, M
multiprocessors): forward 4·b·(S-1)·W·N·dim of edges (two rows of them if nothing is saved); backward 8·b·W·N·dim of
edges, partial sums 8·b·H·W·N·P of dB and dC and 4·b·(2N+1)·dim of the rest, and 4·8·16·16·(W + 7) of scratch for each
of at most 4·M programs; if N > 16, float32 copies of what the launches add into; copies of inputs not laid out as u.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from scan2d.wavefront.gpu_gradient import wavefront_gradient_kernel
from scan2d.wavefront.gpu_kernels import wavefront_forward_kernel

ROWS = 8
"""Rows of a strip; also fixes the layout of what the forward saves."""


@dataclass(frozen=True)
class Tile:
    """States that a launch works on, and channels and warps of a program."""

    states: int
    forward_channels: int
    forward_warps: int
    backward_channels: int
    backward_warps: int


SHIPPED_TILES = (Tile(4, 4, 1, 8, 1), Tile(16, 4, 1, 16, 4))
"""For up to as many states as the first has, and for more. Predicted from the machine code, not measured."""

_PROGRAMS_PER_MULTIPROCESSOR = 4


def choose_tile(states: int) -> Tile:
    """Return the tile for this number of states."""
    return SHIPPED_TILES[0] if states <= SHIPPED_TILES[0].states else SHIPPED_TILES[1]


def saved_shape(batch: int, dim: int, states: int, height: int, width: int) -> tuple[int, ...]:
    """Return the shape of the saved h: below every strip but the last."""
    return (batch, (height + ROWS - 1) // ROWS - 1, width, states, dim)


def forward(
    u: Tensor,
    delta_top: Tensor,
    delta_left: Tensor,
    A_top: Tensor,
    A_left: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    save: bool,
) -> tuple[Tensor, Tensor]:
    """Return the output and, if `save`, h between strips; see `scan2d.wavefront.library`."""
    batch, dim, height, width = u.shape
    states = B.shape[1]
    tile, strips = choose_tile(states), -(-height // ROWS)
    shape = saved_shape(batch, dim, states, height, width)
    edge_rows = max(1, strips - 1) if save else 2
    edges = u.new_empty((batch, edge_rows, width, states, dim), dtype=torch.float32)
    out = _target(u, states, tile)
    inputs = _inputs(out, u, delta_top, delta_left, A_top, A_left, B, C, D)
    with torch.cuda.device_of(u):
        for first_state in range(0, states, tile.states):
            wavefront_forward_kernel[(-(-dim // tile.forward_channels), batch)](
                *inputs, out, edges,
                height, width, dim, states, strips, edge_rows, first_state, int(first_state > 0),
                *out.stride(), *inputs[5].stride(),
                ROWS=ROWS, STATES=tile.states, CHANNELS=tile.forward_channels,
                num_warps=tile.forward_warps, num_stages=1,
            )  # fmt: skip
    return out.to(u.dtype), edges[:, : strips - 1].view(shape) if save else u.new_empty(0, dtype=torch.float32)


def backward(
    dout: Tensor,
    u: Tensor,
    delta_top: Tensor,
    delta_left: Tensor,
    A_top: Tensor,
    A_left: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    saved: Tensor,
) -> tuple[Tensor | None, ...]:
    """Return the gradient of every input, None for an absent D; see `scan2d.wavefront.library`."""
    batch, dim, height, width = u.shape
    states = B.shape[1]
    tile, strips = choose_tile(states), -(-height // ROWS)
    blocks = -(-dim // tile.backward_channels)
    programs = min(batch * blocks, _PROGRAMS_PER_MULTIPROCESSOR * _multiprocessors(u.device))
    steps, tile_size = width + ROWS - 1, ROWS * tile.states * tile.backward_channels
    new = functools.partial(u.new_empty, dtype=torch.float32)
    p_edges, scratch = new((batch, 2, width, states, dim)), new((programs, steps, tile_size))
    parts, parameters = new((2, blocks, batch, height, width, states)), new((batch, 2 * states + 1, dim))
    du, d_top, d_left = (_target(u, states, tile, t.dtype) for t in (u, delta_top, delta_left))
    inputs = _inputs(du, u, delta_top, delta_left, A_top, A_left, B, C, D)
    with torch.cuda.device_of(u):
        for first_state in range(0, states, tile.states):
            wavefront_gradient_kernel[(programs,)](
                _laid_as(dout, du), *inputs, saved, p_edges, scratch, du, d_top, d_left, parts, parameters,
                batch, height, width, dim, states, strips, blocks, first_state, int(first_state > 0),
                *du.stride(), *inputs[5].stride(),
                ROWS=ROWS, STATES=tile.states, CHANNELS=tile.backward_channels,
                num_warps=tile.backward_warps, num_stages=1,
            )  # fmt: skip
    d_rates = parameters.sum(0)
    dB, dC = (part.sum(0).permute(0, 3, 1, 2) for part in parts)
    dD = None if D is None else d_rates[2 * states]
    return du, d_top, d_left, d_rates[:states].T, d_rates[states : 2 * states].T, dB, dC, dD


def _target(u: Tensor, states: int, tile: Tile, dtype: torch.dtype | None = None) -> Tensor:
    """New tensor laid out as u; in float32 if several launches add into it."""
    return torch.empty_like(u, dtype=torch.float32 if states > tile.states else dtype or u.dtype)


def _inputs(
    like: Tensor,
    u: Tensor,
    delta_top: Tensor,
    delta_left: Tensor,
    A_top: Tensor,
    A_left: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
) -> tuple[Tensor, ...]:
    """Return the inputs in the layouts that the kernels take; copies only what lies otherwise."""
    cells = (_laid_as(t, like) for t in (u, delta_top, delta_left))
    skip = u.new_zeros(u.shape[1], dtype=torch.float32) if D is None else D.contiguous()
    return (*cells, A_top.contiguous(), A_left.contiguous(), B, _laid_as(C, B), skip)


def _laid_as(tensor: Tensor, like: Tensor) -> Tensor:
    """The tensor with the strides of another of its shape, copied if it has others."""
    if tensor.stride() == like.stride():
        return tensor
    laid = torch.empty_strided(like.shape, like.stride(), dtype=tensor.dtype, device=tensor.device)
    return laid.copy_(tensor)


@functools.lru_cache(maxsize=16)
def _multiprocessors(device: torch.device) -> int:
    return int(torch.cuda.get_device_properties(device).multi_processor_count) if device.type == "cuda" else 2
