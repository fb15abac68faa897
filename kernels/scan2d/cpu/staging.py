"""Tiles between memory and lanes: reading, writing and transposing, whatever the strides.

A staged tile is a buffer of one vector per block and visited cell (`cells.Visits`), in that order; every block has
room for all cells of a tile. All blocks of a task are staged together: in the channels-last layout
their channels lie side by side, and taking sixteen alone would touch the same pages again and again.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from scan2d.cpu.cells import clear_vectors, column_in_memory, row_in_memory
from scan2d.cpu.compiled import compiled
from scan2d.cpu.tiling import LANES
from scan2d.cpu.vector import load, store
from scan2d.cpu.vector_shuffles import transpose


@compiled
def _first_cell(problem, item, task, tile, row, strides):
    """Memory offset of a row's first cell in the task's first channel, and the step between cells."""
    channel = task.group * (problem.dim // problem.groups) + task.first * LANES
    offset = item.number * strides[0] + channel * strides[1]
    offset += row_in_memory(problem, item, tile.i0 + row) * strides[2]
    offset += column_in_memory(problem, item, tile.j0) * strides[3]
    return offset, -strides[3] if problem.flip_columns else strides[3]


@compiled
def _full_blocks(problem, task):
    """Number of blocks of the task with all sixteen channels, and the channels in the one after them."""
    channels = problem.dim // problem.groups - task.first * LANES
    full = min(task.last - task.first, channels // LANES)
    rest = channels - full * LANES if full < task.last - task.first else 0
    return full, rest


@compiled
def read_tile(problem, item, task, tile, visits, array, strides, buffer):
    """Stage the visited cells of a tile for all blocks of a task; lanes that are no channel become zero."""
    full, rest = _full_blocks(problem, task)
    block_size = problem.tile_rows * problem.tile_columns * LANES
    for row in range(tile.rows):
        base, step = _first_cell(problem, item, task, tile, row, strides)
        first, last = visits.starts[row], visits.starts[row + 1]
        if strides[1] == 1:
            for k in range(first, last):
                cell = base + visits.columns[k] * step
                for block in range(full):
                    store(buffer, block * block_size + k * LANES, load(array, cell + block * LANES))
        else:
            for block in range(full):
                block_base, at = base + block * LANES * strides[1], block * block_size
                done = first
                if last - first == tile.columns:
                    done += _read_squares(array, block_base, step, strides[1], tile.columns, buffer, at + first * LANES)
                _read_lanes(array, block_base, step, strides[1], LANES, visits.columns, done, last, buffer, at)
        if rest > 0:
            at = full * block_size
            clear_vectors(buffer, at + first * LANES, last - first)
            base += full * LANES * strides[1]
            _read_lanes(array, base, step, strides[1], rest, visits.columns, first, last, buffer, at)


@compiled
def write_tile(problem, item, task, tile, visits, buffer, array, strides):
    """Write the visited cells of a staged tile of all blocks of a task back."""
    full, rest = _full_blocks(problem, task)
    block_size = problem.tile_rows * problem.tile_columns * LANES
    for row in range(tile.rows):
        base, step = _first_cell(problem, item, task, tile, row, strides)
        first, last = visits.starts[row], visits.starts[row + 1]
        if strides[1] == 1:
            for k in range(first, last):
                cell = base + visits.columns[k] * step
                for block in range(full):
                    store(array, cell + block * LANES, load(buffer, block * block_size + k * LANES))
        else:
            for block in range(full):
                block_base, at = base + block * LANES * strides[1], block * block_size
                done = first
                if last - first == tile.columns:
                    done += _write_squares(
                        buffer, at + first * LANES, array, block_base, step, strides[1], tile.columns
                    )
                _write_lanes(buffer, at, array, block_base, step, strides[1], LANES, visits.columns, done, last)
        if rest > 0:
            at = full * block_size
            base += full * LANES * strides[1]
            _write_lanes(buffer, at, array, base, step, strides[1], rest, visits.columns, first, last)


@compiled
def _read_squares(array, base, step, lane_step, count, buffer, at):
    """Transpose a row in squares of sixteen cells as far as they go; returns the number of cells done."""
    done = 0
    if step == 1:
        for j in range(0, count - LANES + 1, LANES):
            transpose(array, base + j, lane_step, buffer, at + j * LANES, LANES)
            done = j + LANES
    elif step == -1:
        for j in range(0, count - LANES + 1, LANES):
            transpose(array, base - j - LANES + 1, lane_step, buffer, at + (j + LANES - 1) * LANES, -LANES)
            done = j + LANES
    return done


@compiled
def _write_squares(buffer, at, array, base, step, lane_step, count):
    """Undo `_read_squares`."""
    done = 0
    if step == 1:
        for j in range(0, count - LANES + 1, LANES):
            transpose(buffer, at + j * LANES, LANES, array, base + j, lane_step)
            done = j + LANES
    elif step == -1:
        for j in range(0, count - LANES + 1, LANES):
            transpose(buffer, at + (j + LANES - 1) * LANES, -LANES, array, base - j - LANES + 1, lane_step)
            done = j + LANES
    return done


@compiled
def _read_lanes(array, base, step, lane_step, lanes, columns, first, last, buffer, at):
    for lane in range(lanes):
        for k in range(first, last):
            buffer[at + k * LANES + lane] = array[base + lane * lane_step + columns[k] * step]


@compiled
def _write_lanes(buffer, at, array, base, step, lane_step, lanes, columns, first, last):
    for lane in range(lanes):
        for k in range(first, last):
            array[base + lane * lane_step + columns[k] * step] = buffer[at + k * LANES + lane]
