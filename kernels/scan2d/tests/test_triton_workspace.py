"""What the GPU backend allocates, and which launches it chooses."""

from __future__ import annotations

import math

import pytest
import torch

pytest.importorskip("triton")

from scan2d.triton_backend import table, workspace
from scan2d.triton_backend.problem import Problem

H200 = table.Device(multiprocessors=132, warp_size=32)
SEPARATE, CHAINED = (table.Launch(chained, False, table.PROGRAMS_PER_MULTIPROCESSOR) for chained in (False, True))


def problem(
    batch: int,
    side: int,
    dim: int = 256,
    states: int = 16,
    height: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Problem:
    height = side if height is None else height
    cells = torch.empty(batch, dim, height, side, device="meta", dtype=dtype)
    inputs = torch.empty(batch, 1, states, height, side, device="meta", dtype=dtype)
    rates = torch.empty(dim, states, device="meta")
    return Problem(cells, cells, rates, inputs, inputs, None, None, None, True, "top-left", None)


@pytest.mark.parametrize("side", [14, 56, 200, 400])
def test_bytes_are_those_of_the_docstring_and_far_below_the_states(side: int) -> None:
    p = problem(1, side)
    strips, chunks, blocks = math.ceil(side / 8), math.ceil(side / 8), 16
    programs = min(strips * blocks, 4 * 132)
    assert programs == table.gradient_programs(strips * blocks, SEPARATE, H200)
    edges = 4 * (strips - 1) * side * 16 * 256
    assert workspace.total_bytes(workspace.forward_workspace(p, SEPARATE, False).values()) == edges
    saved = workspace.total_bytes([workspace.saved_shape(1, 256, 1, 16, side, side)])
    assert saved == edges + 4 * (chunks - 1) * side * 16 * 256
    assert workspace.forward_workspace(p, SEPARATE, True) == {}
    backward = workspace.total_bytes(workspace.backward_workspace(p, SEPARATE, programs).values())
    assert backward == (
        edges + 8 * side * side * 16 * blocks + 4 * strips * (16 + 2) * 256 + programs * 4 * 8 * 16 * (9 * 16 + 8)
    )
    all_states = 4 * 256 * 16 * side * side
    assert saved < all_states / 4
    if side >= 200:
        assert backward < all_states / 2


def test_states_of_awkward_number_are_padded_to_a_multiple_of_four() -> None:
    p = problem(1, 56, states=5)
    assert workspace.edge_shape(p, p.strips - 1) == (1, 6, 56, 256, 8)
    assert workspace.saved_shape(1, 256, 1, 5, 56, 56) == (2 * 6 * 56 * 256 * 8,)


def test_y_before_the_gate_needs_memory_only_if_the_output_is_not_float32() -> None:
    half = problem(1, 56, dtype=torch.bfloat16)
    assert workspace.forward_workspace(half, SEPARATE, True) == {"y": (1, 256, 56, 56)}
    assert workspace.forward_workspace(half, CHAINED, True) == {}
    assert workspace.forward_workspace(problem(1, 56, states=40, dtype=torch.bfloat16), CHAINED, True) == {
        "y": (1, 256, 56, 56)
    }


def test_inference_keeps_one_row_of_boundaries_when_chained() -> None:
    assert workspace.forward_workspace(problem(8, 200), CHAINED, False) == {"edges": (8, 1, 200, 256, 16)}


def test_scratch_of_the_walks_does_not_grow_with_the_batch() -> None:
    programs = [table.gradient_programs(batch * 25 * 16, SEPARATE, H200) for batch in (8, 64)]
    assert programs[0] == programs[1] == 4 * 132


@pytest.mark.parametrize(
    ("batch", "side", "chained"), [(1, 14, True), (1, 56, False), (1, 200, False), (64, 200, True)]
)
def test_launch_choice(batch: int, side: int, chained: bool) -> None:
    p = problem(batch, side)
    launch = table.default_launch(batch * p.channel_blocks(p.tile.forward_channels), p.strips, p.width, False, H200)
    # No launch more, forward or backward, to carry edges: only where grids are long and narrow.
    assert (launch.chained, launch.carried) == (chained, False)


def test_a_mask_is_never_chained() -> None:
    assert not any(table.default_launch(9999, strips, 8, True, H200).chained for strips in (1, 2, 25))


def test_small_grids_take_at_most_three_launches_each_way() -> None:
    for side in (14, 56):
        p = problem(1, side)
        work = p.batch * p.strips * p.channel_blocks(p.tile.backward_channels)
        assert p.launches == 1
        assert work <= table.gradient_programs(work, SEPARATE, H200)  # adjoint edges, gradients in one launch, sums


def test_a_sequence_is_run_as_a_column_of_strips() -> None:
    p = problem(1, 40000, height=1)
    assert (p.height, p.width, p.strips) == (40000, 1, 5000)
    assert table.default_launch(32, p.strips, p.width, False, H200).carried
    saved = [workspace.saved_shape(1, 256, 1, 16, *size) for size in ((1, 40000), (200, 200))]
    assert saved[0] == (4999 * 256 * 16,)
    assert saved[0][0] < saved[1][0]
