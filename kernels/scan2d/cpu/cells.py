"""What the two kernels share: the problem, the walk over tiles, and the edges that tiles carry."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from scan2d.cpu.compiled import compiled
from scan2d.cpu.tiling import LANES
from scan2d.cpu.vector import load, splat, store


class Problem(NamedTuple):
    """Sizes and options of one call. All are int64, so that one array carries them into a kernel."""

    batch: int
    dim: int
    groups: int
    states: int
    height: int
    width: int
    flip_rows: int
    flip_columns: int
    tile_rows: int
    tile_columns: int
    with_softplus: int
    with_gate: int
    save: int
    blocks_per_group: int
    blocks_per_task: int
    with_mask: int


class Item(NamedTuple):
    """One item of the batch as a scan walks it; cell (0, 0) is the corner it starts from."""

    number: int
    rows: int
    columns: int
    tiles_down: int
    tiles_across: int
    by_columns: bool  # the walk takes column after column of tiles, so that the edge it carries is the shorter


class Task(NamedTuple):
    """Consecutive channel blocks of one item and group that walk over the tiles together."""

    item: int
    group: int
    first: int  # blocks are counted within the group
    last: int


class Tile(NamedTuple):
    """One tile of the grid. Carried edges are counted in vectors (cell × state)."""

    down: int
    across: int
    i0: int
    j0: int
    rows: int
    columns: int
    left_at: int  # where its left edge lies in a block's carried column of g (forward) or r (backward)
    top_at: int  # where its top edge lies in a block's carried row of h (forward) or p (backward)


class Visits(NamedTuple):
    """The cells of one tile that the scan visits, row by row; work on a tile is laid out in this order."""

    columns: Any  # of each cell, counted from the tile's left edge
    starts: Any  # of each row, the index of its first cell; then the number of all cells


class Block(NamedTuple):
    """Where a block of sixteen channels has its things: the first two count blocks, the others vectors."""

    table: int  # index among all blocks of an item
    saved: int  # index among the blocks of all items
    left_at: int
    top_at: int
    cells_at: int


@compiled
def unpack(numbers):
    """Read a `Problem` back from its array."""
    return Problem(
        numbers[0],
        numbers[1],
        numbers[2],
        numbers[3],
        numbers[4],
        numbers[5],
        numbers[6],
        numbers[7],
        numbers[8],
        numbers[9],
        numbers[10],
        numbers[11],
        numbers[12],
        numbers[13],
        numbers[14],
        numbers[15],
    )


@compiled
def aligned_buffer(vectors):
    """Zeros for `vectors` vectors, on a 64-byte boundary so that none straddles two cache lines."""
    memory = np.zeros((vectors + 1) * LANES, np.float32)
    first = (-(memory.ctypes.data // 4)) % LANES
    return memory[first : first + vectors * LANES]


@compiled
def task_at(problem, index):
    """Find what the index-th task is."""
    tasks_per_group = (problem.blocks_per_group + problem.blocks_per_task - 1) // problem.blocks_per_task
    of_item = index % (problem.groups * tasks_per_group)
    first = (of_item % tasks_per_group) * problem.blocks_per_task
    last = min(first + problem.blocks_per_task, problem.blocks_per_group)
    return Task(index // (problem.groups * tasks_per_group), of_item // tasks_per_group, first, last)


@compiled
def item_at(problem, lengths, index):
    """Describe an item of the batch."""
    rows, columns = lengths[index, 0], lengths[index, 1]
    down = (rows + problem.tile_rows - 1) // problem.tile_rows
    across = (columns + problem.tile_columns - 1) // problem.tile_columns
    return Item(index, rows, columns, down, across, problem.height < problem.width)


@compiled
def block_at(problem, task, tile, number):
    """Describe a block for work on a tile; blocks are counted within the task."""
    column, row = carried_vectors(problem)
    table = task.group * problem.blocks_per_group + task.first + number
    return Block(
        table,
        task.item * problem.groups * problem.blocks_per_group + table,
        number * column + tile.left_at,
        number * row + tile.top_at,
        number * problem.tile_rows * problem.tile_columns,
    )


@compiled
def carried_vectors(problem):
    """Vectors in the column (g or r) and in the row (h or p) that one block carries from tile to tile."""
    if problem.height < problem.width:
        return problem.height * problem.states, problem.tile_columns * problem.states
    return problem.tile_rows * problem.states, problem.width * problem.states


@compiled
def tile_at(problem, item, index):
    """Describe the index-th tile of the walk."""
    if item.by_columns:
        down, across = index % item.tiles_down, index // item.tiles_down
    else:
        down, across = index // item.tiles_across, index % item.tiles_across
    i0, j0 = down * problem.tile_rows, across * problem.tile_columns
    return Tile(
        down,
        across,
        i0,
        j0,
        min(problem.tile_rows, item.rows - i0),
        min(problem.tile_columns, item.columns - j0),
        i0 * problem.states if item.by_columns else 0,
        0 if item.by_columns else j0 * problem.states,
    )


@compiled
def new_visits(problem):
    """Allocate a `Visits` for tiles of the problem."""
    return Visits(
        np.empty(problem.tile_rows * problem.tile_columns, np.int64), np.zeros(problem.tile_rows + 1, np.int64)
    )


@compiled
def find_visits(problem, item, tile, mask, visits):
    """List the cells of a tile that `mask`, flat (batch, H, W), does not leave out; returns their number."""
    count = 0
    for row in range(tile.rows):
        visits.starts[row] = count
        first = (item.number * problem.height + row_in_memory(problem, item, tile.i0 + row)) * problem.width
        for column in range(tile.columns):
            if not problem.with_mask or mask[first + column_in_memory(problem, item, tile.j0 + column)]:
                visits.columns[count] = column
                count += 1
    visits.starts[tile.rows] = count
    return count


@compiled
def saved_left_edge(problem, block, tile):
    """Where in `saved` a tile's left edge lies, in elements; see `tiling.saved_shape`."""
    inner_rows = (problem.height + problem.tile_rows - 1) // problem.tile_rows - 1
    cell = inner_rows * problem.width + (tile.across - 1) * problem.height + tile.i0
    return (block.saved * _saved_cells(problem) + cell) * problem.states * LANES


@compiled
def saved_top_edge(problem, block, tile):
    """Where in `saved` a tile's top edge lies, in elements."""
    cell = (tile.down - 1) * problem.width + tile.j0
    return (block.saved * _saved_cells(problem) + cell) * problem.states * LANES


@compiled
def _saved_cells(problem):
    inner_rows = (problem.height + problem.tile_rows - 1) // problem.tile_rows - 1
    inner_columns = (problem.width + problem.tile_columns - 1) // problem.tile_columns - 1
    return inner_rows * problem.width + inner_columns * problem.height


@compiled
def copy_vectors(source, source_at, target, target_at, count):
    """Copy `count` vectors; places are in elements."""
    for k in range(0, count * LANES, LANES):
        store(target, target_at + k, load(source, source_at + k))


@compiled
def clear_vectors(target, target_at, count):
    """Set `count` vectors to zero."""
    for k in range(0, count * LANES, LANES):
        store(target, target_at + k, splat(np.float32(0.0)))


@compiled
def row_in_memory(problem, item, i):
    """The row of the padded grid that the scan reaches as its i-th."""
    return item.rows - 1 - i if problem.flip_rows else i


@compiled
def column_in_memory(problem, item, j):
    """The column of the padded grid that the scan reaches as its j-th."""
    return item.columns - 1 - j if problem.flip_columns else j


@compiled
def projection_cell(problem, item, group, i, j):
    """Where B and C of a cell begin, in elements of arrays laid out (batch, groups, H, W, N)."""
    row = (item.number * problem.groups + group) * problem.height + row_in_memory(problem, item, i)
    return (row * problem.width + column_in_memory(problem, item, j)) * problem.states
