"""The backward kernel: recompute a tile from its saved edges, then reverse both recurrences over it."""

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
    item_at,
    projection_cell,
    saved_left_edge,
    saved_top_edge,
    task_at,
    tile_at,
    unpack,
)
from scan2d.cpu.compiled import compiled, entry_point
from scan2d.cpu.gates import gate_upstream, to_steps_and_slopes
from scan2d.cpu.staging import read_tile, write_tile
from scan2d.cpu.tiling import LANES
from scan2d.cpu.vector import add_lanes, exp2, fma, load, load_splat, next_task, splat, store

_LN_2 = np.float32(0.6931471805599453)


class BackwardArrays(NamedTuple):
    """The flat arrays that the tiles of one block read and add to."""

    B: Any
    C: Any
    rates: Any  # A·log2(e)
    skip: Any
    bias: Any
    saved: Any
    b_sums: Any  # one partial sum per slot
    c_sums: Any
    d_rates: Any  # one partial sum per item, as are the next two
    d_skip: Any
    d_bias: Any


class BackwardWork(NamedTuple):
    """What one thread works in: staged tiles, one tile's states, and the edges carried from tile to tile."""

    us: Any  # becomes du
    steps: Any  # becomes ddelta
    slopes: Any
    dys: Any
    zs: Any  # becomes dz
    a: Any
    g: Any  # with a column before the tile
    h: Any  # with a row before the tile
    p: Any  # a·λ of the row below
    r: Any  # a·μ of the cell to the right
    d_rates: Any


@compiled
def recall_edges(problem, tile, block, work, saved):
    """Fetch what flowed into the tile in the forward."""
    states = problem.states
    top_count = tile.columns * states
    if tile.down == 0:
        clear_vectors(work.h, 0, top_count)
    else:
        copy_vectors(saved, saved_top_edge(problem, block, tile), work.h, 0, top_count)
    left = saved_left_edge(problem, block, tile)
    for row in range(tile.rows):
        g_at = row * (problem.tile_columns + 1) * states * LANES
        if tile.across == 0:
            clear_vectors(work.g, g_at, states)
        else:
            copy_vectors(saved, left + row * states * LANES, work.g, g_at, states)


@compiled
def clear_outer_edges(problem, item, tile, block, work):
    """Zero what flows into a tile of the reversed scan from outside the grid."""
    if tile.across == item.tiles_across - 1:
        clear_vectors(work.r, block.left_at * LANES, tile.rows * problem.states)
    if tile.down == item.tiles_down - 1:
        clear_vectors(work.p, block.top_at * LANES, tile.columns * problem.states)


@compiled
def recompute_row(problem, tile, row, work, at, rates, rates_at, B, cell, cell_step):
    """Compute a, g and h of one row of the tile again, and keep them."""
    per_cell = problem.states * LANES
    a_at = row * problem.tile_columns * per_cell
    g_at = row * (problem.tile_columns + 1) * per_cell
    below = problem.tile_columns * per_cell
    for j in range(at, at + tile.columns * LANES, LANES):
        step = load(work.steps, j)
        x = step * load(work.us, j)
        for n in range(problem.states):
            k = n * LANES
            a = exp2(step * load(rates, rates_at + k))
            store(work.a, a_at + k, a)
            g = fma(a, load(work.g, g_at + k), x * load_splat(B, cell + n))
            store(work.g, g_at + per_cell + k, g)
            store(work.h, a_at + below + k, fma(a, load(work.h, a_at + k), g))
        cell += cell_step
        a_at += per_cell
        g_at += per_cell


@compiled
def finish_gate(problem, tile, row, work, at, skip, C, cell, cell_step):
    """Compute y of one row again and complete dz with it."""
    h_at = (row + 1) * problem.tile_columns * problem.states * LANES
    for j in range(at, at + tile.columns * LANES, LANES):
        y = skip * load(work.us, j)
        for n in range(problem.states):
            y = fma(load(work.h, h_at), load_splat(C, cell + n), y)
            h_at += LANES
        store(work.zs, j, load(work.zs, j) * y)
        cell += cell_step


@compiled
def reverse_row(problem, tile, row, work, at, arrays, rates_at, skip, cell, cell_step, slot, r_at, p_at):
    """Run λ and μ over one row from right to left; u and Δ are replaced by their gradients.

    Returns the row's contributions to dD and ddelta_bias. `slot` is how far the partial sums of dB and dC
    lie beyond the place of the same cell in B and C.
    """
    states, rates, B, C = problem.states, arrays.rates, arrays.B, arrays.C
    per_cell = states * LANES
    last = tile.columns - 1
    here = (row * problem.tile_columns + last) * per_cell
    left = (row * (problem.tile_columns + 1) + last) * per_cell
    below = problem.tile_columns * per_cell
    p_at += last * per_cell
    cell += last * cell_step
    d_skip, d_bias = splat(np.float32(0.0)), splat(np.float32(0.0))
    for j in range(at + last * LANES, at - LANES, -LANES):
        step, u, dy = load(work.steps, j), load(work.us, j), load(work.dys, j)
        x = step * u
        d_input, d_log2 = splat(np.float32(0.0)), splat(np.float32(0.0))
        for n in range(states):
            k = n * LANES
            a = load(work.a, here + k)
            lam = fma(dy, load_splat(C, cell + n), load(work.p, p_at + k))
            mu = lam + load(work.r, r_at + k)
            p, r = a * lam, a * mu
            store(work.p, p_at + k, p)
            store(work.r, r_at + k, r)
            w = fma(p, load(work.h, here + k), r * load(work.g, left + k))
            store(work.d_rates, k, fma(w, step, load(work.d_rates, k)))
            d_log2 = fma(w, load(rates, rates_at + k), d_log2)
            d_input = fma(mu, load_splat(B, cell + n), d_input)
            add_lanes(arrays.b_sums, slot + cell + n, mu * x)
            add_lanes(arrays.c_sums, slot + cell + n, dy * load(work.h, here + below + k))
        d_raw = fma(d_log2, splat(_LN_2), u * d_input) * load(work.slopes, j)
        store(work.steps, j, d_raw)
        store(work.us, j, fma(step, d_input, skip * dy))
        d_bias = d_bias + d_raw
        d_skip = fma(dy, u, d_skip)
        here -= per_cell
        left -= per_cell
        p_at -= per_cell
        cell -= cell_step
    return d_skip, d_bias


@compiled
def reverse_tile(problem, item, group, tile, block, slot, arrays, work):
    """Compute all gradients of one staged tile of one block of channels."""
    states = problem.states
    bias, skip = load(arrays.bias, block.table * LANES), load(arrays.skip, block.table * LANES)
    rates_at = block.table * states * LANES
    cell_step = -states if problem.flip_columns else states
    recall_edges(problem, tile, block, work, arrays.saved)
    clear_outer_edges(problem, item, tile, block, work)
    clear_vectors(work.d_rates, 0, states)
    for row in range(tile.rows):
        at = (block.cells_at + row * problem.tile_columns) * LANES
        cell = projection_cell(problem, item, group, tile.i0 + row, tile.j0)
        to_steps_and_slopes(work.steps, work.slopes, at, tile.columns, bias, problem.with_softplus)
        recompute_row(problem, tile, row, work, at, arrays.rates, rates_at, arrays.B, cell, cell_step)
        if problem.with_gate:
            gate_upstream(work.dys, work.zs, at, tile.columns)
            finish_gate(problem, tile, row, work, at, skip, arrays.C, cell, cell_step)
    d_skip, d_bias = splat(np.float32(0.0)), splat(np.float32(0.0))
    for row in range(tile.rows - 1, -1, -1):
        at = (block.cells_at + row * problem.tile_columns) * LANES
        cell = projection_cell(problem, item, group, tile.i0 + row, tile.j0)
        r_at = (block.left_at + row * states) * LANES
        p_at = block.top_at * LANES
        of_row = reverse_row(problem, tile, row, work, at, arrays, rates_at, skip, cell, cell_step, slot, r_at, p_at)
        d_skip, d_bias = d_skip + of_row[0], d_bias + of_row[1]
    total = block.saved * LANES
    store(arrays.d_skip, total, load(arrays.d_skip, total) + d_skip)
    store(arrays.d_bias, total, load(arrays.d_bias, total) + d_bias)
    for k in range(0, states * LANES, LANES):
        total = block.saved * states * LANES + k
        store(arrays.d_rates, total, load(arrays.d_rates, total) + load(work.d_rates, k))


@compiled
def make_work(problem):
    """Allocate what one thread works in."""
    column, row = carried_vectors(problem)
    together, states = problem.blocks_per_task, problem.states
    rows, columns = problem.tile_rows, problem.tile_columns
    staged = together * rows * columns
    return BackwardWork(
        aligned_buffer(staged),
        aligned_buffer(staged),
        aligned_buffer(staged),
        aligned_buffer(staged),
        aligned_buffer(staged if problem.with_gate else 0),
        aligned_buffer(rows * columns * states),
        aligned_buffer(rows * (columns + 1) * states),
        aligned_buffer((rows + 1) * columns * states),
        aligned_buffer(together * row),
        aligned_buffer(together * column),
        aligned_buffer(states),
    )


@entry_point
def backward_kernel(
    counter, tasks, numbers, lengths, strides, u, delta, dout, z, du, ddelta, dz, B, C, rates, skip, bias,
    saved, dB, dC, d_rates, d_skip, d_bias,
):  # fmt: skip
    """Compute one task after the other until the shared counter runs out; `launch` packs the arguments."""
    problem = unpack(numbers)
    arrays = BackwardArrays(B, C, rates, skip, bias, saved, dB, dC, d_rates, d_skip, d_bias)
    work = make_work(problem)
    slot_size = B.size
    while True:
        index = next_task(counter)
        if index >= tasks:
            return
        task = task_at(problem, index)
        item = item_at(problem, lengths, task.item)
        for walk in range(item.tiles_down * item.tiles_across - 1, -1, -1):
            tile = tile_at(problem, item, walk)
            read_tile(problem, item, task, tile, u, strides[0], work.us)
            read_tile(problem, item, task, tile, delta, strides[1], work.steps)
            read_tile(problem, item, task, tile, dout, strides[2], work.dys)
            if problem.with_gate:
                read_tile(problem, item, task, tile, z, strides[3], work.zs)
            for number in range(task.last - task.first):
                block = block_at(problem, task, tile, number)
                slot = (task.first + number) // problem.blocks_per_slot * slot_size
                reverse_tile(problem, item, task.group, tile, block, slot, arrays, work)
            write_tile(problem, item, task, tile, work.us, du, strides[4])
            write_tile(problem, item, task, tile, work.steps, ddelta, strides[5])
            if problem.with_gate:
                write_tile(problem, item, task, tile, work.zs, dz, strides[6])
