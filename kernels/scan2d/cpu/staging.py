"""Tiles between memory and lanes: reading, writing and transposing, whatever the strides.

A staged tile is a buffer of one vector per block, row and cell, in that order, with
`problem.tile_columns` vectors to a row. All blocks of a task are staged together: in the channels-last layout
their channels lie side by side, and taking sixteen alone would touch the same pages again and again.
"""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from scan2d.cpu.cells import clear_vectors, column_in_memory, row_in_memory
from scan2d.cpu.compiled import compiled
from scan2d.cpu.tiling import LANES
from scan2d.cpu.vector import load, store, transpose


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
def read_tile(problem, item, task, tile, array, strides, buffer):
    """Stage one tile of all blocks of a task; lanes that are no channel become zero."""
    full, rest = _full_blocks(problem, task)
    block_size = problem.tile_rows * problem.tile_columns * LANES
    for row in range(tile.rows):
        base, step = _first_cell(problem, item, task, tile, row, strides)
        at = row * problem.tile_columns * LANES
        if strides[1] == 1:
            for j in range(tile.columns):
                for block in range(full):
                    value = load(array, base + j * step + block * LANES)
                    store(buffer, block * block_size + at + j * LANES, value)
        else:
            for block in range(full):
                block_base = base + block * LANES * strides[1]
                _read_strided(array, block_base, step, strides[1], tile.columns, buffer, block * block_size + at)
        if rest > 0:
            at += full * block_size
            base += full * LANES * strides[1]
            clear_vectors(buffer, at, tile.columns)
            _read_lanes(array, base, step, strides[1], rest, 0, tile.columns, buffer, at)


@compiled
def write_tile(problem, item, task, tile, buffer, array, strides):
    """Write one staged tile of all blocks of a task back."""
    full, rest = _full_blocks(problem, task)
    block_size = problem.tile_rows * problem.tile_columns * LANES
    for row in range(tile.rows):
        base, step = _first_cell(problem, item, task, tile, row, strides)
        at = row * problem.tile_columns * LANES
        if strides[1] == 1:
            for j in range(tile.columns):
                for block in range(full):
                    value = load(buffer, block * block_size + at + j * LANES)
                    store(array, base + j * step + block * LANES, value)
        else:
            for block in range(full):
                block_base = base + block * LANES * strides[1]
                _write_strided(buffer, block * block_size + at, array, block_base, step, strides[1], tile.columns)
        if rest > 0:
            at += full * block_size
            base += full * LANES * strides[1]
            _write_lanes(buffer, at, array, base, step, strides[1], rest, 0, tile.columns)


@compiled
def _read_strided(array, base, step, lane_step, count, buffer, at):
    done = 0
    if step == 1:
        for j in range(0, count - LANES + 1, LANES):
            transpose(array, base + j, lane_step, buffer, at + j * LANES, LANES)
            done = j + LANES
    elif step == -1:
        for j in range(0, count - LANES + 1, LANES):
            transpose(array, base - j - LANES + 1, lane_step, buffer, at + (j + LANES - 1) * LANES, -LANES)
            done = j + LANES
    _read_lanes(array, base, step, lane_step, LANES, done, count, buffer, at)


@compiled
def _write_strided(buffer, at, array, base, step, lane_step, count):
    done = 0
    if step == 1:
        for j in range(0, count - LANES + 1, LANES):
            transpose(buffer, at + j * LANES, LANES, array, base + j, lane_step)
            done = j + LANES
    elif step == -1:
        for j in range(0, count - LANES + 1, LANES):
            transpose(buffer, at + (j + LANES - 1) * LANES, -LANES, array, base - j - LANES + 1, lane_step)
            done = j + LANES
    _write_lanes(buffer, at, array, base, step, lane_step, LANES, done, count)


@compiled
def _read_lanes(array, base, step, lane_step, lanes, first, last, buffer, at):
    for lane in range(lanes):
        for j in range(first, last):
            buffer[at + j * LANES + lane] = array[base + lane * lane_step + j * step]


@compiled
def _write_lanes(buffer, at, array, base, step, lane_step, lanes, first, last):
    for lane in range(lanes):
        for j in range(first, last):
            array[base + lane * lane_step + j * step] = buffer[at + j * LANES + lane]
