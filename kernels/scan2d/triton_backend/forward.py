"""The forward of the backend: what is launched, on which grid, with which arguments."""

from __future__ import annotations

import functools

import torch
import triton
from torch import Tensor

from scan2d.triton_backend import autotune, table
from scan2d.triton_backend.carry_kernel import carry_kernel
from scan2d.triton_backend.column_kernel import column_kernel
from scan2d.triton_backend.device import on_device
from scan2d.triton_backend.problem import Problem
from scan2d.triton_backend.strip_kernel import strip_kernel
from scan2d.triton_backend.table import Launch
from scan2d.triton_backend.workspace import allocate, forward_workspace, saved_shape, split_saved


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
    """Compute the scan: one launch, or two (strips, columns) where that fills the device better.

    Long narrow grids take a third, which carries what crosses strips past all of them. N > 16 repeats the launches
    for every 16 states. Parameters and returns as in `scan2d.backends`.
    """
    p = Problem(u, delta, A, B, C, D, z, delta_bias, delta_softplus, start, lengths, mask)
    out = p.fresh(u)
    saved = u.new_empty(0, dtype=torch.float32)
    if save:
        # What lies beyond a ragged item is never written, and saved tensors should be defined.
        make = u.new_zeros if p.ragged else u.new_empty
        saved = make(saved_shape(p.batch, p.dim, p.groups, p.states, p.height, p.width), dtype=torch.float32)
    if out.numel():
        with on_device(u.device):
            run = functools.partial(_run, p, out, saved if save else None)
            run(autotune.choose(p, "forward", run))
    return out, saved


def _run(p: Problem, out: Tensor, saved: Tensor | None, launch: Launch) -> None:
    """Fill `out` and, if it is given, `saved`."""
    sizes = forward_workspace(p, launch, saved is not None)
    # y with the strides of `out`, so that the kernels address both alike.
    y = p.swapped(torch.empty_like(out, dtype=torch.float32) if sizes.pop("y", None) else out)
    work = allocate(out, sizes)
    if saved is not None:
        work["edges"], work["checkpoints"] = split_saved(p, saved)
    for state_block in range(p.launches):
        _launch_strips(p, y, p.swapped(out), work, launch, state_block)
        if launch.chained:
            continue
        if launch.carried:
            launch_carry(p, work["edges"], work["step_sums"], state_block, upwards=False)
        _launch_columns(p, y, p.swapped(out), work, launch, state_block)


def _launch_strips(
    p: Problem, y: Tensor, out: Tensor, work: dict[str, Tensor], launch: Launch, state_block: int
) -> None:
    edges, tile = work["edges"], p.tile
    save, final = int("checkpoints" in work), int(state_block == p.launches - 1)
    # A chain that saves nothing hands every row of states on through the same place.
    edge_quads = edges.stride(1) // 4 if edges.shape[1] == p.strips - 1 else 0
    float32 = y if y.dtype == torch.float32 else edges  # a chain without y never touches it
    strip_kernel[(p.channel_blocks(tile.forward_channels), 1 if launch.chained else p.strips, p.batch)](
        p.u, p.delta, p.A, p.B, p.C, p.D, p.z, p.bias, p.lengths, p.mask,
        float32, out, edges, work.get("checkpoints", edges), work.get("step_sums", edges),
        p.height, p.width, p.dim, p.states, p.channels_per_group, p.strips, state_block,
        p.softplus, p.has_z, p.ragged, p.from_bottom, p.from_right,
        int(state_block > 0), final, save, int("step_sums" in work and state_block == 0), p.quads, edge_quads,
        *p.u.stride(), *p.delta.stride(), *p.z.stride(), *out.stride(),
        *p.A.stride(), *p.B.stride(), *p.C.stride(), *p.mask.stride(),
        ROWS=tile.rows, QUAD=tile.quad, CHANNELS=tile.forward_channels, STATES=tile.states, CHUNK=tile.chunk,
        CHAINED=launch.chained, HAS_MASK=p.has_mask, **p.options(tile.forward_lanes()),
    )  # fmt: skip


def _launch_columns(
    p: Problem, y: Tensor, out: Tensor, work: dict[str, Tensor], launch: Launch, state_block: int
) -> None:
    tile, carried = p.tile, int(launch.carried)
    make_true, final = int("checkpoints" in work and not carried), int(state_block == p.launches - 1)
    segments = p.strips if carried else 1
    column_kernel[(p.width, p.channel_blocks(tile.column_channels), p.batch * segments)](
        p.delta, p.A, p.C, p.z, p.bias, p.lengths, p.mask, y, out, work["edges"],
        p.height, p.width, p.dim, p.states, p.channels_per_group, p.strips, state_block,
        p.softplus, p.has_z, p.ragged, p.from_bottom, p.from_right, final, make_true, carried,
        p.quads, *p.delta.stride(), *p.z.stride(), *out.stride(), *p.A.stride(), *p.C.stride(), *p.mask.stride(),
        ROWS=tile.column_rows, STATES=tile.states, CHANNELS=tile.column_channels, STRIP_ROWS=tile.rows,
        HAS_MASK=p.has_mask, **p.options(),
    )  # fmt: skip


def launch_carry(p: Problem, edges: Tensor, sums: Tensor, state_block: int, upwards: bool) -> None:
    """Make the edges of all strips true, from what leaves each strip on its own."""
    first_state = state_block * p.tile.states
    states = min(p.tile.states, p.states - first_state)
    blocks = triton.cdiv(p.dim, table.CARRY_CHANNELS) * triton.cdiv(states, table.CARRY_STATES)
    carry_kernel[(p.width, blocks, p.batch)](
        edges, sums, p.A, p.lengths,
        p.height, p.width, p.dim, p.states, first_state, p.strips, p.tile.rows, p.ragged, int(upwards), p.quads,
        *p.A.stride(),
        STRIPS=table.CARRY_STRIPS, CHANNELS=table.CARRY_CHANNELS, STATES=table.CARRY_STATES, **p.options(),
    )  # fmt: skip
