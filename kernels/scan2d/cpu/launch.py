"""From torch tensors to the compiled kernels and back."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from scan2d.backends import Gradients
from scan2d.cpu.backward import backward_kernel
from scan2d.cpu.cells import Problem
from scan2d.cpu.forward import forward_kernel
from scan2d.cpu.layout import (
    FloatArray,
    cells_first,
    flat,
    in_blocks,
    item_sizes,
    new_like,
    out_of_blocks,
    states_first,
    visited,
)
from scan2d.cpu.memory import working_memory
from scan2d.cpu.threads import run_on_threads
from scan2d.cpu.tiling import LANES, TILE_COLUMNS, Blocks, ceil_div, saved_shape, tile_rows

_LOG2_E = 1.0 / math.log(2.0)


def forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    start: str,
    lengths: Tensor | None,
    mask: Tensor | None,
    save: bool,
) -> tuple[Tensor, Tensor]:
    """Compute the output and, if `save`, the boundary states; see `scan2d.backends`."""
    problem = _problem(u, B, delta_softplus, start, z is not None, save, mask is not None)
    blocks = Blocks(u.shape[1], B.shape[1])
    zero = lengths is not None or mask is not None  # the kernel writes no other cells
    out = new_like(u, zero)
    shape = saved_shape(*_sizes(u, B)) if save else (0,)
    saved = working_memory(math.prod(shape), zero=lengths is not None).view(shape)
    arrays, strides = zip(*(flat(t) for t in (u, delta, z, out)), strict=True)
    run_on_threads(
        forward_kernel,
        _tasks(problem),
        np.array(problem, dtype=np.int64),
        item_sizes(u, lengths),
        np.array(strides, dtype=np.int64),
        visited(mask),
        *arrays,
        cells_first(B),
        cells_first(C),
        in_blocks(A, blocks, _LOG2_E),
        _per_channel(D, blocks),
        _per_channel(delta_bias, blocks),
        saved.view(-1).numpy(),
    )
    return out, saved


def backward(
    dout: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    saved: Tensor,
    delta_softplus: bool,
    start: str,
    lengths: Tensor | None,
    mask: Tensor | None,
) -> Gradients:
    """Compute the gradient of every input; see `scan2d.backends`."""
    problem = _problem(u, B, delta_softplus, start, z is not None, True, mask is not None)
    blocks = Blocks(u.shape[1], B.shape[1])
    zero = lengths is not None or mask is not None
    du, ddelta = new_like(u, zero), new_like(delta, zero)
    dz = None if z is None else new_like(z, zero)
    arrays, strides = zip(*(flat(t) for t in (u, delta, dout, z, du, ddelta, dz)), strict=True)
    # partial sums: dB and dC per task of a group (their shape then follows `cells_first`), the small ones per item
    parts = ceil_div(problem.blocks_per_group, problem.blocks_per_task)
    d_projections = working_memory(2 * parts * B.numel(), zero=lengths is not None).view(2, parts, B.numel())
    d_rates = torch.zeros(problem.batch, blocks.total, problem.states, LANES)
    d_skip, d_bias = torch.zeros(2, problem.batch, blocks.total, 1, LANES)
    run_on_threads(
        backward_kernel,
        _tasks(problem),
        np.array(problem, dtype=np.int64),
        item_sizes(u, lengths),
        np.array(strides, dtype=np.int64),
        visited(mask),
        *arrays,
        cells_first(B),
        cells_first(C),
        in_blocks(A, blocks, _LOG2_E),
        _per_channel(D, blocks),
        _per_channel(delta_bias, blocks),
        saved.reshape(-1).numpy(),
        d_projections[0].view(-1).numpy(),
        d_projections[1].view(-1).numpy(),
        d_rates.view(-1).numpy(),
        d_skip.view(-1).numpy(),
        d_bias.view(-1).numpy(),
    )
    dB, dC = (states_first(partial, B.shape) for partial in d_projections)
    dA = out_of_blocks(d_rates.sum(0), blocks)
    dD = None if D is None else out_of_blocks(d_skip.sum(0), blocks)[:, 0]
    ddelta_bias = None if delta_bias is None else out_of_blocks(d_bias.sum(0), blocks)[:, 0]
    return du, ddelta, dA, dB, dC, dD, dz, ddelta_bias


def _sizes(u: Tensor, B: Tensor) -> tuple[int, int, int, int, int, int]:
    batch, groups, states, height, width = B.shape
    return batch, u.shape[1], groups, states, height, width


def _problem(
    u: Tensor, B: Tensor, delta_softplus: bool, start: str, with_gate: bool, save: bool, with_mask: bool
) -> Problem:
    vertical, horizontal = start.split("-")
    batch, dim, groups, states, height, width = _sizes(u, B)
    blocks = Blocks(dim, groups)
    return Problem(
        batch=batch,
        dim=dim,
        groups=groups,
        states=states,
        height=height,
        width=width,
        flip_rows=vertical == "bottom",
        flip_columns=horizontal == "right",
        tile_rows=tile_rows(states),
        tile_columns=TILE_COLUMNS,
        with_softplus=delta_softplus,
        with_gate=with_gate,
        save=save,
        blocks_per_group=blocks.per_group,
        blocks_per_task=blocks.per_task(batch, states, torch.get_num_threads(), u.stride(1) == 1),
        with_mask=with_mask,
    )


def _tasks(problem: Problem) -> int:
    return problem.batch * problem.groups * ceil_div(problem.blocks_per_group, problem.blocks_per_task)


def _per_channel(values: Tensor | None, blocks: Blocks) -> FloatArray:
    return in_blocks(torch.zeros(blocks.dim) if values is None else values, blocks)
