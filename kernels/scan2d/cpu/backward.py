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
from scan2d.cpu.gates import gate_upstream, to_steps_and_slopes
from scan2d.cpu.staging import read_tile, write_tile
from scan2d.cpu.sums import block_sums_at, close_block, new_sums, put_sums, write_sums
from scan2d.cpu.tiling import LANES
from scan2d.cpu.vector import fma, load, load_splat, next_task, splat, store
from scan2d.cpu.vector_math import exp2

_LN_2 = np.float32(0.6931471805599453)


class BackwardArrays(NamedTuple):
    """The flat arrays that the tiles of one block read and add to."""

    B: Any
    C: Any
    rates: Any  # A·log2(e)
    skip: Any
    bias: Any
    saved: Any
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
    g_before: Any  # what entered each cell from the left
    h_before: Any  # and from above
    g: Any  # recomputed: the present cell of every row
    h: Any  # and of every column
    p: Any  # a·λ of the row below
    r: Any  # a·μ of the cell to the right
    d_rates: Any
    b_sums: Any  # of dB over channels
    c_sums: Any


@compiled
def recall_edges(problem, tile, block, work, saved):
    """Fetch what flowed into the tile in the forward."""
    top_count, left_count = tile.columns * problem.states, tile.rows * problem.states
    if tile.down == 0:
        clear_vectors(work.h, 0, top_count)
    else:
        copy_vectors(saved, saved_top_edge(problem, block, tile), work.h, 0, top_count)
    if tile.across == 0:
        clear_vectors(work.g, 0, left_count)
    else:
        copy_vectors(saved, saved_left_edge(problem, block, tile), work.g, 0, left_count)


@compiled
def clear_outer_edges(problem, item, tile, block, work):
    """Zero what flows into a tile of the reversed scan from outside the grid."""
    if tile.across == item.tiles_across - 1:
        clear_vectors(work.r, block.left_at * LANES, tile.rows * problem.states)
    if tile.down == item.tiles_down - 1:
        clear_vectors(work.p, block.top_at * LANES, tile.columns * problem.states)


@compiled
def recompute_row(problem, visits, row, work, at, arrays, rates_at, skip, cell_0, sums_at):
    """Run both recurrences over the visited cells of a row again; keep a and what entered each cell.

    Adds dC up, and completes dz with y.
    """
    rates, B, C, states = arrays.rates, arrays.B, arrays.C, problem.states
    cell_step = -states if problem.flip_columns else states
    g_at = row * states * LANES
    for visit in range(visits.starts[row], visits.starts[row + 1]):
        column, j, kept = visits.columns[visit], at + visit * LANES, visit * states * LANES
        cell, h_at = cell_0 + column * cell_step, column * states * LANES
        step, u, dy = load(work.steps, j), load(work.us, j), load(work.dys, j)
        x, y = step * u, skip * u
        for n in range(states):
            k = n * LANES
            a = exp2(step * load(rates, rates_at + k))
            g, h = load(work.g, g_at + k), load(work.h, h_at + k)
            store(work.a, kept + k, a)
            store(work.g_before, kept + k, g)
            store(work.h_before, kept + k, h)
            g = fma(a, g, x * load_splat(B, cell + n))
            h = fma(a, h, g)
            store(work.g, g_at + k, g)
            store(work.h, h_at + k, h)
            y = fma(h, load_splat(C, cell + n), y)
            store(work.c_sums.lanes, k, dy * h)
        put_sums(problem, work.c_sums, sums_at, visit)
        if problem.with_gate:
            store(work.zs, j, load(work.zs, j) * y)


@compiled
def reverse_row(problem, visits, row, work, at, arrays, rates_at, skip, cell_0, sums_at, block):
    """Run λ and μ over the visited cells of a row from right to left; u and Δ are replaced by their gradients.

    Adds dB up; returns the row's contributions to dD and ddelta_bias.
    """
    rates, B, C, states = arrays.rates, arrays.B, arrays.C, problem.states
    cell_step = -states if problem.flip_columns else states
    r_at, top_at = (block.left_at + row * states) * LANES, block.top_at * LANES
    d_skip, d_bias = splat(np.float32(0.0)), splat(np.float32(0.0))
    for visit in range(visits.starts[row + 1] - 1, visits.starts[row] - 1, -1):
        column, j, kept = visits.columns[visit], at + visit * LANES, visit * states * LANES
        cell, p_at = cell_0 + column * cell_step, top_at + column * states * LANES
        step, u, dy = load(work.steps, j), load(work.us, j), load(work.dys, j)
        x = step * u
        d_input, d_log2 = splat(np.float32(0.0)), splat(np.float32(0.0))
        for n in range(states):
            k = n * LANES
            a = load(work.a, kept + k)
            lam = fma(dy, load_splat(C, cell + n), load(work.p, p_at + k))
            mu = lam + load(work.r, r_at + k)
            p, r = a * lam, a * mu
            store(work.p, p_at + k, p)
            store(work.r, r_at + k, r)
            w = fma(p, load(work.h_before, kept + k), r * load(work.g_before, kept + k))
            store(work.d_rates, k, fma(w, step, load(work.d_rates, k)))
            d_log2 = fma(w, load(rates, rates_at + k), d_log2)
            d_input = fma(mu, load_splat(B, cell + n), d_input)
            store(work.b_sums.lanes, k, mu * x)
        put_sums(problem, work.b_sums, sums_at, visit)
        d_raw = fma(d_log2, splat(_LN_2), u * d_input) * load(work.slopes, j)
        store(work.steps, j, d_raw)
        store(work.us, j, fma(step, d_input, skip * dy))
        d_bias = d_bias + d_raw
        d_skip = fma(dy, u, d_skip)
    return d_skip, d_bias


@compiled
def reverse_tile(problem, item, group, tile, visits, block, sums_at, arrays, work):
    """Compute all gradients of one staged tile of one block of channels."""
    clear_outer_edges(problem, item, tile, block, work)
    count, states = visits.starts[tile.rows], problem.states
    if count == 0:
        return
    at, rates_at = block.cells_at * LANES, block.table * states * LANES
    bias, skip = load(arrays.bias, block.table * LANES), load(arrays.skip, block.table * LANES)
    recall_edges(problem, tile, block, work, arrays.saved)
    clear_vectors(work.d_rates, 0, states)
    to_steps_and_slopes(work.steps, work.slopes, at, count, bias, problem.with_softplus)
    if problem.with_gate:
        gate_upstream(work.dys, work.zs, at, count)
    for row in range(tile.rows):
        cell = projection_cell(problem, item, group, tile.i0 + row, tile.j0)
        recompute_row(problem, visits, row, work, at, arrays, rates_at, skip, cell, sums_at)
    d_skip, d_bias = splat(np.float32(0.0)), splat(np.float32(0.0))
    for row in range(tile.rows - 1, -1, -1):
        cell = projection_cell(problem, item, group, tile.i0 + row, tile.j0)
        of_row = reverse_row(problem, visits, row, work, at, arrays, rates_at, skip, cell, sums_at, block)
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
        aligned_buffer(rows * columns * states),
        aligned_buffer(rows * columns * states),
        aligned_buffer(rows * states),
        aligned_buffer(columns * states),
        aligned_buffer(together * row),
        aligned_buffer(together * column),
        aligned_buffer(states),
        new_sums(problem),
        new_sums(problem),
    )


@entry_point
def backward_kernel(
    counter, tasks, numbers, lengths, strides, mask, u, delta, dout, z, du, ddelta, dz, B, C, rates, skip, bias,
    saved, dB, dC, d_rates, d_skip, d_bias,
):  # fmt: skip
    """Compute one task after the other until the shared counter runs out; `launch` packs the arguments."""
    problem = unpack(numbers)
    arrays = BackwardArrays(B, C, rates, skip, bias, saved, d_rates, d_skip, d_bias)
    work, visits = make_work(problem), new_visits(problem)
    while True:
        index = next_task(counter)
        if index >= tasks:
            return
        task = task_at(problem, index)
        item = item_at(problem, lengths, task.item)
        for walk in range(item.tiles_down * item.tiles_across - 1, -1, -1):
            tile = tile_at(problem, item, walk)
            find_visits(problem, item, tile, mask, visits)
            read_tile(problem, item, task, tile, visits, u, strides[0], work.us)
            read_tile(problem, item, task, tile, visits, delta, strides[1], work.steps)
            read_tile(problem, item, task, tile, visits, dout, strides[2], work.dys)
            if problem.with_gate:
                read_tile(problem, item, task, tile, visits, z, strides[3], work.zs)
            for number in range(task.last - task.first):
                block = block_at(problem, task, tile, number)
                sums_at = block_sums_at(problem, number)
                reverse_tile(problem, item, task.group, tile, visits, block, sums_at, arrays, work)
                close_block(problem, work.b_sums, number, visits.starts[tile.rows])
                close_block(problem, work.c_sums, number, visits.starts[tile.rows])
            write_tile(problem, item, task, tile, visits, work.us, du, strides[4])
            write_tile(problem, item, task, tile, visits, work.steps, ddelta, strides[5])
            if problem.with_gate:
                write_tile(problem, item, task, tile, visits, work.zs, dz, strides[6])
            sums_at = task.first // problem.blocks_per_task * B.size
            write_sums(problem, item, task, tile, visits, work.b_sums, dB, sums_at)
            write_sums(problem, item, task, tile, visits, work.c_sums, dC, sums_at)
