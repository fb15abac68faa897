"""The forward kernel: softplus, bias, both scans, C, D and the gate in one pass over the grid."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any, NamedTuple

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
from scan2d.cpu.gates import apply_gate, to_steps
from scan2d.cpu.staging import read_tile, write_tile
from scan2d.cpu.tiling import LANES
from scan2d.cpu.vector import fma, load, load_splat, next_task, store
from scan2d.cpu.vector_math import exp2


class ForwardArrays(NamedTuple):
    """The flat arrays of a call, and the strides of u, delta, z and out."""

    strides: Any
    u: Any
    delta: Any
    z: Any
    out: Any
    B: Any
    C: Any
    rates: Any  # A·log2(e)
    skip: Any
    bias: Any
    saved: Any


class ForwardWork(NamedTuple):
    """What one thread works in: staged tiles, and the edges carried from tile to tile."""

    us: Any
    steps: Any
    zs: Any
    ys: Any
    g: Any
    h: Any


@compiled
def enter_tile(problem, tile, block, work, saved):
    """Zero what flows into a tile from outside the grid, and save what flows in from other tiles."""
    left, left_count = block.left_at * LANES, tile.rows * problem.states
    if tile.across == 0:
        clear_vectors(work.g, left, left_count)
    elif problem.save:
        copy_vectors(work.g, left, saved, saved_left_edge(problem, block, tile), left_count)
    top, top_count = block.top_at * LANES, tile.columns * problem.states
    if tile.down == 0:
        clear_vectors(work.h, top, top_count)
    elif problem.save:
        copy_vectors(work.h, top, saved, saved_top_edge(problem, block, tile), top_count)


@compiled
def scan_row(columns, first, last, states, work, at, rates, rates_at, skip, B, C, cell_0, cell_step, g_at, top_at):
    """Advance both recurrences over the visited cells of a row; g and h are replaced by their new values."""
    for visit in range(first, last):
        column, j = columns[visit], at + visit * LANES
        cell, h_at = cell_0 + column * cell_step, top_at + column * states * LANES
        step = load(work.steps, j)
        u = load(work.us, j)
        x = step * u
        y = skip * u
        for n in range(states):
            k = n * LANES
            a = exp2(step * load(rates, rates_at + k))
            g = fma(a, load(work.g, g_at + k), x * load_splat(B, cell + n))
            store(work.g, g_at + k, g)
            h = fma(a, load(work.h, h_at + k), g)
            store(work.h, h_at + k, h)
            y = fma(h, load_splat(C, cell + n), y)
        store(work.ys, j, y)


@compiled
def scan_tile(problem, item, group, tile, visits, block, arrays, work):
    """Compute one staged tile of one block of channels."""
    states, at, count = problem.states, block.cells_at * LANES, visits.starts[tile.rows]
    bias, skip = load(arrays.bias, block.table * LANES), load(arrays.skip, block.table * LANES)
    enter_tile(problem, tile, block, work, arrays.saved)
    to_steps(work.steps, at, count, bias, problem.with_softplus)
    for row in range(tile.rows):
        scan_row(
            visits.columns,
            visits.starts[row],
            visits.starts[row + 1],
            states,
            work,
            at,
            arrays.rates,
            block.table * states * LANES,
            skip,
            arrays.B,
            arrays.C,
            projection_cell(problem, item, group, tile.i0 + row, tile.j0),
            -states if problem.flip_columns else states,
            (block.left_at + row * states) * LANES,
            block.top_at * LANES,
        )
    if problem.with_gate:
        apply_gate(work.ys, work.zs, at, count)


@entry_point
def forward_kernel(counter, tasks, numbers, lengths, strides, mask, u, delta, z, out, B, C, rates, skip, bias, saved):
    """Compute one task after the other until the shared counter runs out; `launch` packs the arguments."""
    problem = unpack(numbers)
    arrays = ForwardArrays(strides, u, delta, z, out, B, C, rates, skip, bias, saved)
    column, row = carried_vectors(problem)
    together, visits = problem.blocks_per_task, new_visits(problem)
    cells = together * problem.tile_rows * problem.tile_columns
    work = ForwardWork(
        aligned_buffer(cells),
        aligned_buffer(cells),
        aligned_buffer(cells if problem.with_gate else 0),
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
            read_tile(problem, item, task, tile, visits, delta, strides[1], work.steps)
            if problem.with_gate:
                read_tile(problem, item, task, tile, visits, z, strides[2], work.zs)
            for number in range(task.last - task.first):
                block = block_at(problem, task, tile, number)
                scan_tile(problem, item, task.group, tile, visits, block, arrays, work)
            write_tile(problem, item, task, tile, visits, work.ys, out, strides[3])
