"""The backward of the backend: what is launched, on which grid, with which arguments."""

from __future__ import annotations

import functools

import torch
import triton
from torch import Tensor

from scan2d.backends import Gradients
from scan2d.triton_backend import autotune, table
from scan2d.triton_backend.adjoint_kernel import adjoint_kernel
from scan2d.triton_backend.device import device_of, on_device
from scan2d.triton_backend.forward import launch_carry
from scan2d.triton_backend.gradient_kernel import gradient_kernel
from scan2d.triton_backend.problem import Problem
from scan2d.triton_backend.sum_kernel import sum_partials_kernel
from scan2d.triton_backend.table import Launch
from scan2d.triton_backend.workspace import allocate, backward_workspace, split_saved


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
    p = Problem(u, delta, A, B, C, D, z, delta_bias, delta_softplus, start, lengths, mask)
    turned_size = (p.batch, p.groups, p.height, p.width, p.states)
    grads = {"du": p.fresh(u), "ddelta": p.fresh(u, delta.dtype), "dz": p.fresh(u, p.z.dtype)}
    grads |= {"dB": B.new_empty(turned_size), "dC": C.new_empty(turned_size)}
    grads |= {"dA": torch.zeros_like(A, memory_format=torch.contiguous_format)}
    grads |= {"dD": torch.zeros_like(p.D), "dbias": torch.zeros_like(p.bias)}
    if u.numel():
        with on_device(u.device):
            run = functools.partial(_run, p, dout, saved, grads)
            run(autotune.choose(p, "backward", run))
    to_user = (0, 1, 4, 2, 3) if not p.swap else (0, 1, 4, 3, 2)
    return (
        grads["du"],
        grads["ddelta"],
        grads["dA"],
        grads["dB"].permute(to_user),
        grads["dC"].permute(to_user),
        None if D is None else grads["dD"],
        None if z is None else grads["dz"],
        None if delta_bias is None else grads["dbias"],
    )


def _run(p: Problem, dout: Tensor, saved: Tensor, grads: dict[str, Tensor], launch: Launch) -> None:
    """Fill `grads`."""
    blocks = p.channel_blocks(p.tile.backward_channels)
    programs = table.gradient_programs(p.batch * p.strips * blocks, launch, device_of(p.u.device))
    work = allocate(p.u, backward_workspace(p, launch, programs))
    if p.ragged:
        for name in {"input_parts", "du", "ddelta", "dz"} & set(work):
            work[name].zero_()
    work["h_edges"], work["checkpoints"] = split_saved(p, saved)
    per_cell = {name: p.swapped(grads[name]) for name in ("du", "ddelta", "dz")}
    # With N > 16, launches add to each other's gradients in float32.
    targets = {name: work[name].permute(0, 3, 1, 2) if name in work else grad for name, grad in per_cell.items()}
    for state_block in range(p.launches):
        _launch_adjoint(p, p.swapped(dout), work, launch, state_block)
        _launch_gradients(p, p.swapped(dout), targets, work, programs, state_block)
    _launch_sums(p, work, grads)
    if p.launches > 1:
        for name, grad in per_cell.items():
            grad.copy_(targets[name])


def _launch_adjoint(p: Problem, dout: Tensor, work: dict[str, Tensor], launch: Launch, state_block: int) -> None:
    if p.strips == 1:
        return
    tile = p.tile
    sums = work.get("step_sums", work["edges"])
    segments = p.strips - 1 if launch.carried else 1
    adjoint_kernel[(p.width, p.channel_blocks(tile.column_channels), p.batch * segments)](
        dout, p.delta, p.A, p.C, p.z, p.bias, p.lengths, p.mask, work["edges"], sums,
        p.height, p.width, p.dim, p.states, p.channels_per_group, p.strips, state_block,
        p.softplus, p.has_z, p.ragged, p.from_bottom, p.from_right, int(launch.carried), p.quads,
        *dout.stride(), *p.delta.stride(), *p.z.stride(), *p.A.stride(), *p.C.stride(), *p.mask.stride(),
        ROWS=tile.column_rows, STATES=tile.states, CHANNELS=tile.column_channels, STRIP_ROWS=tile.rows,
        HAS_MASK=p.has_mask, **p.options(),
    )  # fmt: skip
    if launch.carried:
        launch_carry(p, work["edges"], sums, state_block, upwards=True)


def _launch_gradients(
    p: Problem,
    dout: Tensor,
    targets: dict[str, Tensor],
    work: dict[str, Tensor],
    programs: int,
    state_block: int,
) -> None:
    du, ddelta, dz = targets["du"], targets["ddelta"], targets["dz"]
    tile, blocks = p.tile, p.channel_blocks(p.tile.backward_channels)
    total = p.batch * p.strips * blocks
    # As many programs at a time as there is scratch for; launches of one stream never overlap.
    for first_work in range(0, total, programs):
        gradient_kernel[(min(programs, total - first_work),)](
            dout, p.u, p.delta, p.A, p.B, p.C, p.D, p.z, p.bias, p.lengths, p.mask,
            work["h_edges"], work["checkpoints"], work["edges"], du, ddelta, dz,
            work["input_parts"], work["parameter_parts"], work["chunk"], work["step_parts"],
            p.batch, p.height, p.width, p.dim, p.states, p.channels_per_group, p.strips, blocks, state_block,
            first_work, p.softplus, p.has_z, p.ragged, p.from_bottom, p.from_right, int(state_block > 0), p.quads,
            *dout.stride(), *p.u.stride(), *p.delta.stride(), *p.z.stride(),
            *du.stride(), *p.A.stride(), *p.B.stride(), *p.C.stride(), *p.mask.stride(),
            ROWS=tile.rows, QUAD=tile.backward_quad, CHANNELS=tile.backward_channels, STATES=tile.states,
            CHUNK=tile.chunk,
            HAS_MASK=p.has_mask, **p.options(tile.backward_lanes()),
        )  # fmt: skip


def _launch_sums(p: Problem, work: dict[str, Tensor], grads: dict[str, Tensor]) -> None:
    half = triton.cdiv(grads["dB"].numel(), table.SUM_LANES)
    parameters = triton.cdiv((p.states + 2) * p.dim, table.SUM_LANES)
    cells = p.height * p.width * p.states
    blocks_per_group = p.channel_blocks(p.tile.backward_channels) // p.groups
    sum_partials_kernel[(2 * half + parameters,)](
        work["input_parts"], work["parameter_parts"],
        grads["dB"], grads["dC"], grads["dA"], grads["dD"], grads["dbias"],
        blocks_per_group, p.batch * p.strips, p.batch, cells, p.states, p.dim, p.groups, 2 * half,
        TERMS=table.SUM_TERMS, LANES=table.SUM_LANES, **p.options(),
    )  # fmt: skip
