"""The forward kernel of the wavefront scan: softplus, recurrence, C and D in one pass over the grid.

Tiles, carried edges and threads are those of the selective scan (`scan2d.cpu`); here one state h crosses both edges.
The half that a cell with two predecessors gives each of them goes into the exponent: ½·2^x = 2^(x − 1).
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from scan2d.cpu.cells import (
    aligned_buffer,
    block_at,
    carried_vectors,
    clear_vectors,
    copy_vectors,
    find_visits,
    item_at,
    new_visits,
    projection_cell,
    saved_left_edge,
    saved_top_edge,
    task_at,
    tile_at,
    unpack,
)
from scan2d.cpu.compiled import compiled, entry_point
from scan2d.cpu.gates import to_steps
from scan2d.cpu.staging import read_tile, write_tile
from scan2d.cpu.tiling import LANES
from scan2d.cpu.vector import fma, load, load_splat, next_task, splat, store
from scan2d.cpu.vector_math import exp2


class ForwardArrays(NamedTuple):
    """The flat arrays that the tiles of one block read, and where edges are saved."""

    B: Any
    C: Any
    rates_top: Any  # A·log2(e)
    rates_left: Any
    skip: Any
    saved: Any


class ForwardWork(NamedTuple):
    """What one thread works in: staged tiles, and the h carried from tile to tile, to the right and down."""

    us: Any
    tops: Any
    lefts: Any
    ys: Any
    column: Any
    row: Any


@compiled
def entry_weights(i, j):
    """Shares of what enters a cell from the top and from the left: half each, or all from where there is a cell."""
    top = np.float32(0.0 if i == 0 else 1.0 if j == 0 else 0.5)
    return splat(top), splat(np.float32(1.0) - top)


@compiled
def decay_exponent(i, j):
    """log2 of the weight of a predecessor that exists."""
    return splat(np.float32(0.0 if i == 0 or j == 0 else -1.0))


@compiled
def enter_tile(problem, tile, block, work, saved):
    """Zero what flows into a tile from outside the grid, and save what flows in from other tiles."""
    left, left_count = block.left_at * LANES, tile.rows * problem.states
    if tile.across == 0:
        clear_vectors(work.column, left, left_count)
    elif problem.save:
        copy_vectors(work.column, left, saved, saved_left_edge(problem, block, tile), left_count)
    top, top_count = block.top_at * LANES, tile.columns * problem.states
    if tile.down == 0:
        clear_vectors(work.row, top, top_count)
    elif problem.save:
        copy_vectors(work.row, top, saved, saved_top_edge(problem, block, tile), top_count)


@compiled
def scan_row(problem, tile, row, work, at, arrays, rates_at, skip, cell, left_at, top_at):
    """Advance h over one row of a tile; the carried column and row are replaced by their new values."""
    for k in range(tile.columns):
        j = at + k * LANES
        top, left, u = load(work.tops, j), load(work.lefts, j), load(work.us, j)
        exponent = decay_exponent(tile.i0 + row, tile.j0 + k)
        from_top, from_left = entry_weights(tile.i0 + row, tile.j0 + k)
        x = fma(from_top, top, from_left * left) * u
        y = skip * u
        for n in range(problem.states):
            s = n * LANES
            a_top = exp2(fma(top, load(arrays.rates_top, rates_at + s), exponent))
            a_left = exp2(fma(left, load(arrays.rates_left, rates_at + s), exponent))
            inflow = fma(a_top, load(work.row, top_at + s), a_left * load(work.column, left_at + s))
            h = fma(x, load_splat(arrays.B, cell + n), inflow)
            store(work.row, top_at + s, h)
            store(work.column, left_at + s, h)
            y = fma(h, load_splat(arrays.C, cell + n), y)
        store(work.ys, j, y)
        cell += problem.states
        top_at += problem.states * LANES


@compiled
def scan_tile(problem, item, tile, block, arrays, work):
    """Compute one staged tile of one block of channels."""
    states, no_bias = problem.states, splat(np.float32(0.0))
    skip = load(arrays.skip, block.table * LANES)
    enter_tile(problem, tile, block, work, arrays.saved)
    for steps in (work.tops, work.lefts):
        to_steps(steps, block.cells_at * LANES, tile.rows * tile.columns, no_bias, True)
    for row in range(tile.rows):
        at = (block.cells_at + row * tile.columns) * LANES
        cell = projection_cell(problem, item, 0, tile.i0 + row, tile.j0)
        left_at = (block.left_at + row * states) * LANES
        rates_at = block.table * states * LANES
        scan_row(problem, tile, row, work, at, arrays, rates_at, skip, cell, left_at, block.top_at * LANES)


@entry_point
def forward_kernel(
    counter, tasks, numbers, lengths, strides, mask, u, top, left, out, B, C, rates_top, rates_left, skip, saved
):
    """Compute one task after the other until the shared counter runs out; `cpu` packs the arguments."""
    problem = unpack(numbers)
    arrays = ForwardArrays(B, C, rates_top, rates_left, skip, saved)
    column, row = carried_vectors(problem)
    together, visits = problem.blocks_per_task, new_visits(problem)
    cells = together * problem.tile_rows * problem.tile_columns
    work = ForwardWork(
        aligned_buffer(cells),
        aligned_buffer(cells),
        aligned_buffer(cells),
        aligned_buffer(cells),
        aligned_buffer(together * column),
        aligned_buffer(together * row),
    )
    while True:
        index = next_task(counter)
        if index >= tasks:
            return
        task = task_at(problem, index)
        item = item_at(problem, lengths, task.item)
        for walk in range(item.tiles_down * item.tiles_across):
            tile = tile_at(problem, item, walk)
            find_visits(problem, item, tile, mask, visits)
            read_tile(problem, item, task, tile, visits, u, strides[0], work.us)
            read_tile(problem, item, task, tile, visits, top, strides[1], work.tops)
            read_tile(problem, item, task, tile, visits, left, strides[2], work.lefts)
            for number in range(task.last - task.first):
                block = block_at(problem, task, tile, number)
                scan_tile(problem, item, tile, block, arrays, work)
            write_tile(problem, item, task, tile, visits, work.ys, out, strides[3])
