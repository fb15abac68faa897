"""The wavefront scan on the CPU: from torch tensors to the compiled kernels and back."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from scan2d.cpu.cells import Problem
from scan2d.cpu.layout import (
    cells_first,
    flat,
    in_blocks,
    item_sizes,
    new_like,
    new_memory,
    out_of_blocks,
    states_first,
    visited,
)
from scan2d.cpu.memory import working_memory
from scan2d.cpu.threads import run_on_threads
from scan2d.cpu.tiling import LANES, TILE_COLUMNS, Blocks, ceil_div, tile_rows
from scan2d.cpu.tiling import saved_shape as selective_saved_shape
from scan2d.wavefront.cpu_backward import backward_kernel
from scan2d.wavefront.cpu_forward import forward_kernel

_LOG2_E = 1.0 / math.log(2.0)


def saved_shape(batch: int, dim: int, states: int, height: int, width: int) -> tuple[int, ...]:
    """Return the shape of h on the edges of tiles, as the selective scan saves them."""
    return selective_saved_shape(batch, dim, 1, states, height, width)


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
    """Return the output and, if `save`, h on the edges of tiles; see `scan2d.wavefront.library`."""
    problem, blocks = _problem(u, B, save), Blocks(u.shape[1], 1)
    out = new_like(u, zero=False)
    shape = saved_shape(*_sizes(u, B)) if save else (0,)
    saved = new_memory(math.prod(shape)).view(shape)
    arrays, strides = zip(*(flat(t) for t in (u, delta_top, delta_left, out)), strict=True)
    run_on_threads(
        forward_kernel,
        _tasks(problem),
        np.array(problem, dtype=np.int64),
        item_sizes(u, None),
        np.array(strides, dtype=np.int64),
        visited(None),
        *arrays,
        cells_first(B.unsqueeze(1)),
        cells_first(C.unsqueeze(1)),
        in_blocks(A_top, blocks, _LOG2_E),
        in_blocks(A_left, blocks, _LOG2_E),
        in_blocks(torch.zeros(blocks.dim) if D is None else D, blocks),
        saved.view(-1).numpy(),
    )
    return out, saved


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
    problem, blocks = _problem(u, B, True), Blocks(u.shape[1], 1)
    gradients = [new_like(t, zero=False) for t in (u, delta_top, delta_left)]
    arrays, strides = zip(*(flat(t) for t in (u, delta_top, delta_left, dout, *gradients)), strict=True)
    # Partial sums: dB and dC per task, the small ones per item.
    parts = ceil_div(problem.blocks_per_group, problem.blocks_per_task)
    d_projections = working_memory(2 * parts * B.numel()).view(2, parts, B.numel())
    d_rates = torch.zeros(2, problem.batch, blocks.total, problem.states, LANES)
    d_skip = torch.zeros(problem.batch, blocks.total, 1, LANES)
    run_on_threads(
        backward_kernel,
        _tasks(problem),
        np.array(problem, dtype=np.int64),
        item_sizes(u, None),
        np.array(strides, dtype=np.int64),
        visited(None),
        *arrays,
        cells_first(B.unsqueeze(1)),
        cells_first(C.unsqueeze(1)),
        in_blocks(A_top, blocks, _LOG2_E),
        in_blocks(A_left, blocks, _LOG2_E),
        in_blocks(torch.zeros(blocks.dim) if D is None else D, blocks),
        saved.reshape(-1).numpy(),
        *(t.view(-1).numpy() for t in (*d_projections, *d_rates, d_skip)),
    )
    dA = (out_of_blocks(partial.sum(0), blocks) for partial in d_rates)
    dBC = (states_first(partial, B.unsqueeze(1).shape).squeeze(1) for partial in d_projections)
    return (*gradients, *dA, *dBC, None if D is None else out_of_blocks(d_skip.sum(0), blocks)[:, 0])


def _sizes(u: Tensor, B: Tensor) -> tuple[int, int, int, int, int]:
    batch, dim, height, width = u.shape
    return batch, dim, B.shape[1], height, width


def _problem(u: Tensor, B: Tensor, save: bool) -> Problem:
    batch, dim, states, height, width = _sizes(u, B)
    blocks = Blocks(dim, 1)
    return Problem(
        batch=batch,
        dim=dim,
        groups=1,
        states=states,
        height=height,
        width=width,
        flip_rows=False,
        flip_columns=False,
        tile_rows=tile_rows(states),
        tile_columns=TILE_COLUMNS,
        with_softplus=True,
        with_gate=False,
        save=save,
        blocks_per_group=blocks.per_group,
        blocks_per_task=blocks.per_task(batch, states, torch.get_num_threads(), u.stride(1) == 1),
        with_mask=False,
    )


def _tasks(problem: Problem) -> int:
    return problem.batch * ceil_div(problem.blocks_per_group, problem.blocks_per_task)
