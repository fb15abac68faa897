"""dB and dC: sums over the channels of a group, added as a binary tree over blocks of sixteen channels.

A task adds up its own blocks tile by tile, in buffers that stay in the cache, and writes every cell once; `layout`
adds up the tasks. Tasks are whole subtrees (`Blocks.per_task` is a power of two), so the order of the additions, and
with it the last bit of a gradient, does not depend on how many blocks a task has.

While a task goes through its blocks, the buffers are a stack of the subtrees that are complete so far: as many as the
number of blocks done has bits set.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any, NamedTuple

from scan2d.cpu.cells import aligned_buffer, projection_cell
from scan2d.cpu.compiled import compiled
from scan2d.cpu.tiling import LANES
from scan2d.cpu.vector import load, store
from scan2d.cpu.vector_shuffles import sum_lanes


class Sums(NamedTuple):
    """Partial sums of one projection for one tile, and what is summed for one cell.

    Both have room for a multiple of sixteen states; what lies beyond the last state is never used.
    """

    stack: Any  # (subtree, visit, state)
    lanes: Any  # (state, lane)


@compiled
def _states_held(problem):
    return (problem.states + LANES - 1) // LANES * LANES


@compiled
def _subtree_size(problem):
    return problem.tile_rows * problem.tile_columns * _states_held(problem)


@compiled
def _complete(blocks):
    """Number of complete subtrees after so many blocks."""
    count = 0
    while blocks > 0:
        count += blocks & 1
        blocks >>= 1
    return count


@compiled
def new_sums(problem):
    """Allocate a `Sums`; the deepest stack is that before the last block of a task."""
    depth = _complete(problem.blocks_per_task - 1) + 1
    return Sums(
        aligned_buffer(depth * _subtree_size(problem) // LANES),
        aligned_buffer(_states_held(problem)),
    )


@compiled
def block_sums_at(problem, number):
    """Where in the stack the sums of the number-th block of a task go."""
    return _complete(number) * _subtree_size(problem)


@compiled
def put_sums(problem, sums, at, visit):
    """Sum over the lanes what `sums.lanes` holds for one visited cell."""
    states = _states_held(problem)
    for n in range(0, states, LANES):
        store(sums.stack, at + visit * states + n, sum_lanes(sums.lanes, n * LANES))


@compiled
def _add_top(problem, sums, depth, visits):
    """Add the topmost of `depth` subtrees to the one below it."""
    size = _subtree_size(problem)
    below, top = (depth - 2) * size, (depth - 1) * size
    for k in range(0, visits * _states_held(problem), LANES):
        store(sums.stack, below + k, load(sums.stack, below + k) + load(sums.stack, top + k))


@compiled
def close_block(problem, sums, number, visits):
    """Join the subtrees that the number-th block completes."""
    depth = _complete(number) + 1
    while number & 1:
        _add_top(problem, sums, depth, visits)
        depth -= 1
        number >>= 1


@compiled
def write_sums(problem, item, task, tile, visits, sums, total, total_at):
    """Join what is left after the last block of a task and write it, in the order of `layout.cells_first`."""
    states, held = problem.states, _states_held(problem)
    for depth in range(_complete(task.last - task.first), 1, -1):
        _add_top(problem, sums, depth, visits.starts[tile.rows])
    step = -states if problem.flip_columns else states
    for row in range(tile.rows):
        first = total_at + projection_cell(problem, item, task.group, tile.i0 + row, tile.j0)
        if visits.starts[row + 1] - visits.starts[row] < tile.columns:
            for column in range(tile.columns):
                for n in range(states):
                    total[first + column * step + n] = 0.0
        for visit in range(visits.starts[row], visits.starts[row + 1]):
            cell = first + visits.columns[visit] * step
            for n in range(states):
                total[cell + n] = sums.stack[visit * held + n]
