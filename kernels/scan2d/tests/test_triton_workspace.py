"""What the GPU backend allocates, and which launches it chooses."""

from __future__ import annotations

import math

import pytest
import torch

pytest.importorskip("triton")

from scan2d.triton_backend import launch, table
from scan2d.triton_backend.problem import Problem

H200 = table.Device(multiprocessors=132, warp_size=32)


def problem(batch: int, side: int, dim: int = 256, states: int = 16, height: int | None = None) -> Problem:
    height = side if height is None else height
    cells = torch.empty(batch, dim, height, side, device="meta")
    inputs = torch.empty(batch, 1, states, height, side, device="meta")
    rates = torch.empty(dim, states, device="meta")
    return Problem(cells, cells, rates, inputs, inputs, None, None, None, True, "top-left", None)


@pytest.mark.parametrize("side", [14, 56, 200, 400])
def test_bytes_are_those_of_the_docstring_and_far_below_the_states(side: int) -> None:
    p = problem(1, side)
    strips, blocks = math.ceil(side / 8), 16
    programs = min(strips * blocks, 4 * 132)
    assert programs == table.gradient_programs(strips * blocks, H200)
    forward = launch.total_bytes(launch.forward_workspace(p, False, True).values())
    assert forward == 4 * (strips - 1) * side * 16 * 256 + 4 * (strips - 1) * side * 256
    backward = launch.total_bytes(launch.backward_workspace(p, False, programs).values())
    assert backward == (
        4 * (strips - 1) * side * 16 * 256
        + 8 * side * side * 16 * blocks
        + 4 * strips * (16 + 2) * 256
        + programs * 4 * 8 * 16 * 16 * (16 + math.ceil(side / 16))
    )
    all_states = 4 * 256 * 16 * side * side
    assert forward < all_states / 7
    if side >= 200:
        assert backward < all_states / 2


def test_inference_keeps_one_row_of_boundaries_when_chained() -> None:
    assert launch.forward_workspace(problem(8, 200), True, False) == {"edges": (8, 1, 200, 16, 256)}


def test_workspace_of_the_walks_does_not_grow_with_the_batch() -> None:
    programs = [table.gradient_programs(batch * 25 * 16, H200) for batch in (8, 64)]
    assert programs[0] == programs[1] == 4 * 132


@pytest.mark.parametrize(
    ("batch", "side", "chained"), [(1, 14, True), (1, 56, False), (1, 200, False), (64, 200, True)]
)
def test_launch_choice(batch: int, side: int, chained: bool) -> None:
    p = problem(batch, side)
    warps = batch * p.channel_blocks(p.tile.forward_channels)
    assert table.chain_strips(warps, p.strips, H200) is chained
    # Launches of a backward: adjoint edges, gradients, sums; one more only where λ is carried.
    assert not table.carry_adjoint(p.width, p.strips)


def test_a_sequence_is_run_as_a_column_of_strips() -> None:
    p = problem(1, 40000, height=1)
    assert (p.height, p.width, p.strips) == (40000, 1, 5000)
    assert table.carry_adjoint(p.width, p.strips)
    assert launch.saved_shape(1, 256, 1, 16, 1, 40000) == (1, 4999, 1, 16, 256)
    square = launch.total_bytes(launch.forward_workspace(problem(1, 200), False, True).values())
    sequence = launch.total_bytes(launch.forward_workspace(p, False, True).values())
    assert sequence < 1.1 * square
