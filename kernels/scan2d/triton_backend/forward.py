"""The forward of the backend: what is launched, on which grid, with which arguments."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from scan2d.triton_backend import table
from scan2d.triton_backend.device import ONE_WARP, device_of, on_device
from scan2d.triton_backend.forward_kernels import carry_kernel, column_kernel, strip_kernel
from scan2d.triton_backend.problem import Problem
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
    warps = p.batch * p.channel_blocks(p.tile.forward_channels)
    chained = table.chain_strips(warps, p.strips, device_of(u.device))
    sizes = forward_workspace(p, chained, save)
    out = p.fresh(u)
    # With the strides of `out`, so that the kernels address both alike.
    y = torch.empty_like(out, dtype=torch.float32) if "y" in sizes else out
    work = allocate(u, {name: size for name, size in sizes.items() if name != "y"})
    if save:
        work["saved"] = u.new_empty(
            saved_shape(p.batch, p.dim, p.groups, p.states, p.height, p.width), dtype=torch.float32
        )
        if lengths is not None:
            work["saved"].zero_()  # what lies beyond an item is never written, and saved tensors should be defined
        work["edges"], work["checkpoints"] = split_saved(p, work["saved"])
    if out.numel():
        with on_device(u.device):
            _launch(p, p.swapped(y), p.swapped(out), work, chained, save)
    return out, work["saved"] if save else u.new_empty(0, dtype=torch.float32)


def _launch(p: Problem, y: Tensor, out: Tensor, work: dict[str, Tensor], chained: bool, save: bool) -> None:
    carried = p.carried and not chained
    for state_block in range(p.launches):
        final = int(state_block == p.launches - 1)
        _launch_strips(p, y, out, work, chained, save, state_block, final)
        if chained:
            continue
        if carried:
            launch_carry(p, work["edges"], work["step_sums"], state_block, upwards=False)
        _launch_columns(p, y, out, work, carried, save, state_block, final)


def _launch_strips(
    p: Problem,
    y: Tensor,
    out: Tensor,
    work: dict[str, Tensor],
    chained: bool,
    save: bool,
    state_block: int,
    final: int,
) -> None:
    edges = work["edges"]
    # A chain that saves nothing hands every row of states on through the same place.
    edge_stride = edges.stride(1) if edges.shape[1] == p.strips - 1 else 0
    float32 = y if y.dtype == torch.float32 else edges  # a chain without y never touches it
    tile = p.tile
    strip_kernel[(p.channel_blocks(tile.forward_channels), 1 if chained else p.strips, p.batch)](
        p.u, p.delta, p.A, p.B, p.C, p.D, p.z, p.bias, p.lengths, p.mask,
        float32, out, edges, work.get("checkpoints", edges), work.get("step_sums", edges),
        p.height, p.width, p.dim, p.states, p.channels_per_group, p.strips, state_block,
        p.softplus, p.has_z, p.ragged, p.from_bottom, p.from_right,
        int(state_block > 0), final, int(save), int("step_sums" in work and state_block == 0), p.quads, edge_stride,
        *p.u.stride(), *p.delta.stride(), *p.z.stride(), *out.stride(),
        *p.A.stride(), *p.B.stride(), *p.C.stride(), *p.mask.stride(),
        ROWS=tile.rows, QUAD=tile.quad, CHANNELS=tile.forward_channels, STATES=tile.states, CHUNK=tile.chunk,
        CHAINED=chained, HAS_MASK=p.has_mask, num_warps=p.warps(tile.forward_lanes()), num_stages=1,
    )  # fmt: skip


def _launch_columns(
    p: Problem, y: Tensor, out: Tensor, work: dict[str, Tensor], carried: bool, save: bool, state_block: int, final: int
) -> None:
    tile = p.tile
    segments = p.strips if carried else 1
    column_kernel[(p.width, p.channel_blocks(tile.column_channels), p.batch * segments)](
        p.delta, p.A, p.C, p.z, p.bias, p.lengths, p.mask, y, out, work["edges"],
        p.height, p.width, p.dim, p.states, p.channels_per_group, p.strips, state_block,
        p.softplus, p.has_z, p.ragged, p.from_bottom, p.from_right, final, int(save and not carried), int(carried),
        p.quads, *p.delta.stride(), *p.z.stride(), *out.stride(), *p.A.stride(), *p.C.stride(), *p.mask.stride(),
        ROWS=tile.column_rows, STATES=tile.states, CHANNELS=tile.column_channels, STRIP_ROWS=tile.rows,
        HAS_MASK=p.has_mask, **ONE_WARP,
    )  # fmt: skip


def launch_carry(p: Problem, edges: Tensor, sums: Tensor, state_block: int, upwards: bool) -> None:
    """Make the edges of all strips true, from what leaves each strip on its own."""
    states = min(p.tile.states, p.states - state_block * p.tile.states)
    blocks = triton.cdiv(p.dim, table.CARRY_CHANNELS) * triton.cdiv(states, table.CARRY_STATES)
    carry_kernel[(p.width, blocks, p.batch)](
        edges, sums, p.A, p.lengths,
        p.height, p.width, p.dim, p.states, state_block, p.strips, p.tile.rows, p.ragged, int(upwards), p.quads,
        *p.A.stride(),
        STRIPS=table.CARRY_STRIPS, CHANNELS=table.CARRY_CHANNELS, STATES=table.CARRY_STATES, **ONE_WARP,
    )  # fmt: skip
