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
    item_at,
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
from scan2d.cpu.vector import exp2, fma, load, load_splat, next_task, store


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
def scan_row(count, states, work, at, rates, rates_at, skip, B, C, cell, cell_step, g_at, h_at):
    """Advance both recurrences over one row of a tile; g and h are replaced by their new values."""
    for j in range(at, at + count * LANES, LANES):
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
        cell += cell_step
        h_at += states * LANES


@compiled
def scan_tile(problem, item, group, tile, block, arrays, work):
    """Compute one staged tile of one block of channels."""
    states = problem.states
    bias, skip = load(arrays.bias, block.table * LANES), load(arrays.skip, block.table * LANES)
    enter_tile(problem, tile, block, work, arrays.saved)
    for row in range(tile.rows):
        at = (block.cells_at + row * problem.tile_columns) * LANES
        to_steps(work.steps, at, tile.columns, bias, problem.with_softplus)
        scan_row(
            tile.columns,
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
            apply_gate(work.ys, work.zs, at, tile.columns)


@entry_point
def forward_kernel(counter, tasks, numbers, lengths, strides, u, delta, z, out, B, C, rates, skip, bias, saved):
    """Compute one task after the other until the shared counter runs out; `launch` packs the arguments."""
    problem = unpack(numbers)
    arrays = ForwardArrays(strides, u, delta, z, out, B, C, rates, skip, bias, saved)
    column, row = carried_vectors(problem)
    together = problem.blocks_per_task
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
            read_tile(problem, item, task, tile, u, strides[0], work.us)
            read_tile(problem, item, task, tile, delta, strides[1], work.steps)
            if problem.with_gate:
                read_tile(problem, item, task, tile, z, strides[2], work.zs)
            for number in range(task.last - task.first):
                block = block_at(problem, task, tile, number)
                scan_tile(problem, item, task.group, tile, block, arrays, work)
            write_tile(problem, item, task, tile, work.ys, out, strides[3])
