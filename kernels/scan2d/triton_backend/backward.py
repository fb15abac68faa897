"""The backward of the backend: what is launched, on which grid, with which arguments."""

from __future__ import annotations

import torch
import triton
from torch import Tensor

from scan2d.backends import Gradients
from scan2d.triton_backend import table
from scan2d.triton_backend.backward_kernels import adjoint_kernel, gradient_kernel
from scan2d.triton_backend.device import ONE_WARP, device_of, on_device
from scan2d.triton_backend.forward import launch_carry
from scan2d.triton_backend.problem import Problem
from scan2d.triton_backend.sum_kernel import sum_partials_kernel
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
    blocks = p.channel_blocks(p.tile.backward_channels)
    programs = table.gradient_programs(p.batch * p.strips * blocks, device_of(u.device))
    work = allocate(u, backward_workspace(p, programs))
    work["h_edges"], work["checkpoints"] = split_saved(p, saved)
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
        with on_device(u.device):
            for state_block in range(p.launches):
                _launch_adjoint(p, p.swapped(dout), work, state_block)
                _launch_gradients(p, p.swapped(dout), targets, work, blocks, programs, state_block)
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


def _launch_adjoint(p: Problem, dout: Tensor, work: dict[str, Tensor], state_block: int) -> None:
    if p.strips == 1:
        return
    tile = p.tile
    sums = work.get("step_sums", work["edges"])
    segments = p.strips - 1 if p.carried else 1
    adjoint_kernel[(p.width, p.channel_blocks(tile.column_channels), p.batch * segments)](
        dout, p.delta, p.A, p.C, p.z, p.bias, p.lengths, p.mask, work["edges"], sums,
        p.height, p.width, p.dim, p.states, p.channels_per_group, p.strips, state_block,
        p.softplus, p.has_z, p.ragged, p.from_bottom, p.from_right, int(p.carried), p.quads,
        *dout.stride(), *p.delta.stride(), *p.z.stride(), *p.A.stride(), *p.C.stride(), *p.mask.stride(),
        ROWS=tile.column_rows, STATES=tile.states, CHANNELS=tile.column_channels, STRIP_ROWS=tile.rows,
        HAS_MASK=p.has_mask, **ONE_WARP,
    )  # fmt: skip
    if p.carried:
        launch_carry(p, work["edges"], sums, state_block, upwards=True)


def _launch_gradients(
    p: Problem,
    dout: Tensor,
    targets: dict[str, Tensor],
    work: dict[str, Tensor],
    blocks: int,
    programs: int,
    state_block: int,
) -> None:
    du, ddelta, dz = targets["du"], targets["ddelta"], targets["dz"]
    tile = p.tile
    total = p.batch * p.strips * blocks
    # As many programs at a time as there is scratch for; launches of one stream never overlap.
    for first_work in range(0, total, programs):
        gradient_kernel[(min(programs, total - first_work),)](
            dout, p.u, p.delta, p.A, p.B, p.C, p.D, p.z, p.bias, p.lengths, p.mask,
            work["h_edges"], work["checkpoints"], work["edges"], du, ddelta, dz,
            work["input_parts"], work["parameter_parts"], work["chunk"], work["step_parts"],
            p.batch, p.height, p.width, p.dim, p.states, p.channels_per_group, p.strips, blocks, state_block,
            first_work,
            p.softplus, p.has_z, p.ragged, p.from_bottom, p.from_right, int(state_block > 0), p.quads,
            *dout.stride(), *p.u.stride(), *p.delta.stride(), *p.z.stride(),
            *du.stride(), *p.A.stride(), *p.B.stride(), *p.C.stride(), *p.mask.stride(),
            ROWS=tile.rows, QUAD=tile.backward_quad, CHANNELS=tile.backward_channels, STATES=tile.states,
            CHUNK=tile.chunk,
            HAS_MASK=p.has_mask, num_warps=p.warps(tile.backward_lanes()), num_stages=1,
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
        TERMS=table.SUM_TERMS, LANES=table.SUM_LANES, **ONE_WARP,
    )  # fmt: skip
