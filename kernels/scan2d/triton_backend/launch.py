"""The host side: sizes, workspace, launches. The two functions of the backend are here.

Device memory beyond inputs, outputs and gradients, in bytes (b items, S = ⌈H/8⌉ strips, P channel blocks of
16, M multiprocessors):

- forward: boundary states 4·b·(S-1)·W·N·dim (only one row of them, 4·b·W·N·dim, if programs chain strips
  and nothing is saved) and sums of Δ 4·b·(S-1)·W·dim (none if chained);
- backward: adjoint boundaries 4·b·(S-1)·W·N·dim, partial sums of dB and dC 8·b·H·W·N·P, of dA, dD and dbias
  4·b·S·(N+2)·dim, and 4·8·16·16·(16 + ⌈W/16⌉) for each of at most 4·M programs;
- if N > 16, float32 copies of out, du, ddelta and dz that the launches add into.

`forward_workspace` and `backward_workspace` say the same as code, and allocate by it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import torch
import triton
from torch import Tensor

from scan2d.backends import Gradients
from scan2d.errors import BackendUnavailableError
from scan2d.triton_backend import table
from scan2d.triton_backend.backward_kernels import adjoint_edges_kernel, gradient_kernel, sum_partials_kernel
from scan2d.triton_backend.forward_kernels import carry_kernel, forward_kernel
from scan2d.triton_backend.problem import Problem

_ONE_WARP = {"num_warps": 1, "num_stages": 1}


def saved_shape(batch: int, dim: int, groups: int, states: int, height: int, width: int) -> tuple[int, ...]:
    """Return the shape of the saved boundary states: h above every strip but the first.

    A 1D scan (one row) is run as one column, so its strips are pieces of the sequence.
    """
    rows = table.TILE_16.rows
    if isinstance(height, int) and height == 1:
        height, width = width, height
    strips = (height + rows - 1) // rows
    return (batch, strips - 1, width, states, dim)


def forward_workspace(problem: Problem, chained: bool, save: bool) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the float32 arrays that the forward allocates besides the output."""
    p = problem
    edge_rows = p.strips - 1 if save or not chained else min(1, p.strips - 1)
    sizes: dict[str, tuple[int, ...]] = {"edges": (p.batch, edge_rows, p.width, p.states, p.dim)}
    if not chained:
        sizes["step_sums"] = (p.batch, p.strips - 1, p.width, p.dim)
    if p.launches > 1:
        sizes["out"] = (p.batch, p.height, p.width, p.dim)
    return sizes


def backward_workspace(problem: Problem, carried: bool, programs: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the float32 arrays that the backward allocates besides the gradients."""
    p = problem
    tile = (p.tile.rows, p.tile.states, p.tile.backward_channels)
    blocks = p.channel_blocks(p.tile.backward_channels)
    sizes: dict[str, tuple[int, ...]] = {
        "edges": (p.batch, p.strips - 1, p.width, p.states, p.dim),
        "input_parts": (2, blocks, p.batch, p.height, p.width, p.states),
        "parameter_parts": (p.batch * p.strips, p.states + 2, p.dim),
        "checkpoints": (programs, -(-p.width // p.tile.chunk), *tile),
        "chunk": (programs, p.tile.chunk, *tile),
    }
    if carried:
        sizes["step_sums"] = (p.batch, p.strips - 1, p.width, p.dim)
    if p.launches > 1:
        for name in ("du", "ddelta", "dz"):
            sizes[name] = (p.batch, p.height, p.width, p.dim)
    return sizes


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
    """Compute the scan: one launch, or three (strips, carry, outputs) where that fills the device better.

    Parameters and returns as in `scan2d.backends`.
    """
    if mask is not None:
        raise BackendUnavailableError("backend 'triton' takes no mask yet; use backend='cpu' or 'reference'")
    p = Problem(u, delta, A, B, C, D, z, delta_bias, delta_softplus, start, lengths)
    device = _device(u.device)
    blocks = p.channel_blocks(p.tile.forward_channels)
    chained = table.chain_strips(blocks * p.batch, p.strips, device)
    work = _allocate(u, forward_workspace(p, chained, save))
    if lengths is not None and save:
        work["edges"].zero_()  # columns beyond an item are never written, and saved tensors should be defined
    out = p.fresh(u)
    if out.numel():
        target = p.per_cell(work["out"].permute(0, 3, 1, 2)) if p.launches > 1 else p.swapped(out)
        if p.launches > 1 and lengths is not None:
            work["out"].zero_()
        with _on(u.device):
            _launch_forward(p, target, work, blocks, chained)
        if p.launches > 1:
            p.swapped(out).copy_(target)
    return out, work["edges"] if save else u.new_empty(0, dtype=torch.float32)


def _launch_forward(p: Problem, out: Tensor, work: dict[str, Tensor], blocks: int, chained: bool) -> None:
    edges = work["edges"]
    sums = work.get("step_sums", edges)
    edge_stride = edges.stride(1) if edges.shape[1] == p.strips - 1 else 0
    tile = {"ROWS": p.tile.rows, "STATES": p.tile.states, "CHANNELS": p.tile.forward_channels}

    def run(grid: tuple[int, int, int], first_state: int, chain: int, output: bool) -> None:
        forward_kernel[grid](
            p.u, p.delta, p.A, p.B, p.C, p.D, p.z, p.bias, p.lengths, out, edges, sums,
            p.height, p.width, p.dim, p.states, p.channels_per_group, p.strips, first_state,
            p.softplus, p.has_z, p.ragged, p.from_bottom, p.from_right, int(first_state > 0), chain, edge_stride,
            *p.u.stride(), *p.delta.stride(), *p.z.stride(), *out.stride(),
            *p.A.stride(), *p.B.stride(), *p.C.stride(),
            **tile, OUTPUT=output, num_warps=p.tile.forward_warps, num_stages=1,
        )  # fmt: skip

    first_states = range(0, p.states, p.tile.states)
    if chained:
        for first_state in first_states:
            run((blocks, 1, p.batch), first_state, p.strips, True)
        return
    for first_state in first_states:
        run((blocks, p.strips - 1, p.batch), first_state, 1, False)
    _carry(p, edges, sums, upwards=False)
    for first_state in first_states:
        run((blocks, p.strips, p.batch), first_state, 1, True)


def _carry(p: Problem, edges: Tensor, sums: Tensor, upwards: bool) -> None:
    blocks = triton.cdiv(p.dim, table.CARRY_CHANNELS) * triton.cdiv(p.states, table.CARRY_STATES)
    carry_kernel[(p.width, blocks, p.batch)](
        edges, sums, p.A, p.lengths,
        p.height, p.width, p.dim, p.states, p.strips, p.tile.rows, p.ragged, int(upwards), *p.A.stride(),
        STRIPS=table.CARRY_STRIPS, STATES=table.CARRY_STATES, CHANNELS=table.CARRY_CHANNELS, **_ONE_WARP,
    )  # fmt: skip


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
    """Compute every gradient: adjoint boundaries, the main kernel, the sums; `saved` is only read.

    Parameters and returns as in `scan2d.backends`.
    """
    p = Problem(u, delta, A, B, C, D, z, delta_bias, delta_softplus, start, lengths)
    blocks = p.channel_blocks(p.tile.backward_channels)
    programs = table.gradient_programs(p.batch * p.strips * blocks, _device(u.device))
    carried = table.carry_adjoint(p.width, p.strips)
    work = _allocate(u, backward_workspace(p, carried, programs))
    if lengths is not None:
        for name in {"input_parts", "du", "ddelta", "dz"} & set(work):
            work[name].zero_()
    kinds = {"du": u.dtype, "ddelta": delta.dtype, "dz": u.dtype if z is None else z.dtype}
    grads = {name: p.fresh(u, dtype) for name, dtype in kinds.items()}
    turned_size = (p.batch, p.groups, p.height, p.width, p.states)
    dB, dC = B.new_empty(turned_size), C.new_empty(turned_size)
    dA = torch.zeros(A.shape, dtype=A.dtype, device=A.device)
    dD, dbias = torch.zeros_like(p.D), torch.zeros_like(p.bias)
    if u.numel():
        targets = {
            name: p.per_cell(work[name].permute(0, 3, 1, 2)) if p.launches > 1 else p.swapped(grad)
            for name, grad in grads.items()
        }
        with _on(u.device):
            _launch_adjoint_edges(p, p.swapped(dout), work, carried)
            for first_state in range(0, p.states, p.tile.states):
                _launch_gradients(p, p.swapped(dout), saved, targets, work, blocks, programs, first_state)
            _launch_sums(p, work, blocks, dB, dC, dA, dD, dbias)
        if p.launches > 1:
            for name, grad in grads.items():
                p.swapped(grad).copy_(targets[name])
    to_user = (0, 1, 4, 2, 3) if not p.swap else (0, 1, 4, 3, 2)
    return (
        grads["du"],
        grads["ddelta"],
        dA,
        dB.permute(to_user),
        dC.permute(to_user),
        None if D is None else dD,
        None if z is None else grads["dz"],
        None if delta_bias is None else dbias,
    )


def _launch_adjoint_edges(p: Problem, dout: Tensor, work: dict[str, Tensor], carried: bool) -> None:
    if p.strips == 1:
        return
    sums = work.get("step_sums", work["edges"])
    segments = p.strips - 1 if carried else 1
    channels = p.tile.forward_channels
    grid = (triton.cdiv(p.width, p.tile.adjoint_columns), p.channel_blocks(channels), p.batch * segments)
    for first_state in range(0, p.states, p.tile.states):
        adjoint_edges_kernel[grid](
            dout, p.delta, p.A, p.C, p.z, p.bias, p.lengths, work["edges"], sums,
            p.height, p.width, p.dim, p.states, p.channels_per_group, p.strips, p.tile.rows, first_state,
            p.softplus, p.has_z, p.ragged, p.from_bottom, p.from_right, segments,
            *dout.stride(), *p.delta.stride(), *p.z.stride(), *p.A.stride(), *p.C.stride(),
            COLUMNS=p.tile.adjoint_columns, STATES=p.tile.states, CHANNELS=channels,
            num_warps=p.tile.forward_warps, num_stages=1,
        )  # fmt: skip
    if carried:
        _carry(p, work["edges"], sums, upwards=True)


def _launch_gradients(
    p: Problem,
    dout: Tensor,
    saved: Tensor,
    targets: dict[str, Tensor],
    work: dict[str, Tensor],
    blocks: int,
    programs: int,
    first_state: int,
) -> None:
    du, ddelta, dz = targets["du"], targets["ddelta"], targets["dz"]
    gradient_kernel[(programs,)](
        dout, p.u, p.delta, p.A, p.B, p.C, p.D, p.z, p.bias, p.lengths,
        saved, work["edges"], du, ddelta, dz,
        work["input_parts"], work["parameter_parts"], work["checkpoints"], work["chunk"],
        p.batch, p.height, p.width, p.dim, p.states, p.channels_per_group, p.strips, blocks, first_state,
        p.softplus, p.has_z, p.ragged, p.from_bottom, p.from_right, int(first_state > 0),
        *dout.stride(), *p.u.stride(), *p.delta.stride(), *p.z.stride(),
        *du.stride(), *p.A.stride(), *p.B.stride(), *p.C.stride(),
        ROWS=p.tile.rows, STATES=p.tile.states, CHANNELS=p.tile.backward_channels, CHUNK=p.tile.chunk,
        num_warps=p.tile.backward_warps, num_stages=1,
    )  # fmt: skip


def _launch_sums(
    p: Problem, work: dict[str, Tensor], blocks: int, dB: Tensor, dC: Tensor, dA: Tensor, dD: Tensor, dbias: Tensor
) -> None:
    half = triton.cdiv(dB.numel(), table.SUM_LANES)
    parameters = triton.cdiv((p.states + 2) * p.dim, table.SUM_LANES)
    cells = p.height * p.width * p.states
    sum_partials_kernel[(2 * half + parameters,)](
        work["input_parts"], work["parameter_parts"], dB, dC, dA, dD, dbias,
        blocks // p.groups, p.batch * p.strips, p.batch, cells, p.states, p.dim, p.groups, 2 * half, 1, 1,
        TERMS=table.SUM_TERMS, LANES=table.SUM_LANES, **_ONE_WARP,
    )  # fmt: skip


def _allocate(like: Tensor, sizes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    return {name: torch.empty(size, dtype=torch.float32, device=like.device) for name, size in sizes.items()}


def _on(device: torch.device) -> Any:
    """Triton launches on the current device; tensors may be on another."""
    return torch.cuda.device(device) if device.type == "cuda" else torch.device(device)


@functools.lru_cache(maxsize=16)
def _device(device: torch.device) -> table.Device:
    if device.type != "cuda":
        return table.Device(multiprocessors=2, warp_size=32)
    properties = torch.cuda.get_device_properties(device)
    return table.Device(properties.multi_processor_count, getattr(properties, "warp_size", 32))


def total_bytes(sizes: Iterable[tuple[int, ...]]) -> int:
    """Return the bytes of float32 arrays of these shapes."""
    return sum(4 * functools.reduce(lambda x, y: x * y, size, 1) for size in sizes)
