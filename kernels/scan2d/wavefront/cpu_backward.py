"""The backward kernel of the wavefront scan: recompute a tile from its saved edges, then reverse it.

With λ = ∂loss/∂h of a cell and w its share (docs/operator.md), p = w_t·a_t·λ flows up and r = w_l·a_l·λ to the left.
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
    find_visits,
    item_at,
    new_visits,
    projection_cell,
    task_at,
    tile_at,
    unpack,
)
from scan2d.cpu.compiled import compiled, entry_point
from scan2d.cpu.gates import to_steps_and_slopes
from scan2d.cpu.staging import read_tile, write_tile
from scan2d.cpu.sums import block_sums_at, close_block, new_sums, put_sums, write_sums
from scan2d.cpu.tiling import LANES
from scan2d.cpu.vector import fma, load, load_splat, next_task, splat, store
from scan2d.wavefront.cpu_forward import entry_weights
from scan2d.wavefront.cpu_recompute import recall_edges, recompute_row, state_at

_LN_2 = np.float32(0.6931471805599453)


class BackwardArrays(NamedTuple):
    """The flat arrays that the tiles of one block read and add to."""

    B: Any
    C: Any
    rates_top: Any  # A·log2(e)
    rates_left: Any
    skip: Any
    saved: Any
    d_rates_top: Any  # one partial sum per item, as are the next two
    d_rates_left: Any
    d_skip: Any


class BackwardWork(NamedTuple):
    """What one thread works in: staged tiles, one tile's states, and the edges carried from tile to tile."""

    us: Any  # becomes du
    tops: Any  # becomes the gradient of delta_top
    lefts: Any
    top_slopes: Any
    left_slopes: Any
    dys: Any
    a_top: Any
    a_left: Any
    h: Any  # with a row above and a column before the tile
    p: Any
    r: Any
    d_rates_top: Any
    d_rates_left: Any
    b_sums: Any  # of dB over channels
    c_sums: Any


@compiled
def clear_outer_edges(problem, item, tile, block, work):
    """Zero what flows into a tile of the reversed scan from outside the grid."""
    if tile.across == item.tiles_across - 1:
        clear_vectors(work.r, block.left_at * LANES, tile.rows * problem.states)
    if tile.down == item.tiles_down - 1:
        clear_vectors(work.p, block.top_at * LANES, tile.columns * problem.states)


@compiled
def reverse_row(problem, tile, row, work, at, arrays, rates_at, skip, cell, sums_at, r_at, p_at):
    """Run λ over one row from right to left; u and the steps are replaced by their gradients.

    Adds dB and dC up; returns the row's contribution to dD.
    """
    states, B, C = problem.states, arrays.B, arrays.C
    per_cell = states * LANES
    nothing = splat(np.float32(0.0))
    d_skip = nothing
    for k in range(tile.columns - 1, -1, -1):
        j = at + k * LANES
        at_cell = cell + k * states
        a_at = (row * problem.tile_columns + k) * per_cell
        here, above = state_at(problem, row, k), state_at(problem, row - 1, k)
        before, p_here = here - per_cell, p_at + k * per_cell
        top, left, u, dy = load(work.tops, j), load(work.lefts, j), load(work.us, j), load(work.dys, j)
        from_top, from_left = entry_weights(tile.i0 + row, tile.j0 + k)
        weight = fma(from_top, top, from_left * left)
        x = weight * u
        d_input, d_top, d_left = nothing, nothing, nothing
        for n in range(states):
            s = n * LANES
            lam = fma(dy, load_splat(C, at_cell + n), load(work.p, p_here + s) + load(work.r, r_at + s))
            p, r = load(work.a_top, a_at + s) * lam, load(work.a_left, a_at + s) * lam
            store(work.p, p_here + s, p)
            store(work.r, r_at + s, r)
            w_top, w_left = p * load(work.h, above + s), r * load(work.h, before + s)
            store(work.d_rates_top, s, fma(w_top, top, load(work.d_rates_top, s)))
            store(work.d_rates_left, s, fma(w_left, left, load(work.d_rates_left, s)))
            d_top = fma(w_top, load(arrays.rates_top, rates_at + s), d_top)
            d_left = fma(w_left, load(arrays.rates_left, rates_at + s), d_left)
            d_input = fma(lam, load_splat(B, at_cell + n), d_input)
            store(work.b_sums.lanes, s, lam * x)
            store(work.c_sums.lanes, s, dy * load(work.h, here + s))
        put_sums(problem, work.b_sums, sums_at, row * tile.columns + k)
        put_sums(problem, work.c_sums, sums_at, row * tile.columns + k)
        entering = u * d_input
        store(work.tops, j, fma(d_top, splat(_LN_2), from_top * entering) * load(work.top_slopes, j))
        store(work.lefts, j, fma(d_left, splat(_LN_2), from_left * entering) * load(work.left_slopes, j))
        store(work.us, j, fma(weight, d_input, skip * dy))
        d_skip = fma(dy, u, d_skip)
    return d_skip


@compiled
def add_vectors(source, target, target_at, count):
    """Add `count` vectors to a table; places are in elements."""
    for k in range(0, count * LANES, LANES):
        store(target, target_at + k, load(target, target_at + k) + load(source, k))


@compiled
def reverse_tile(problem, item, tile, block, sums_at, arrays, work):
    """Compute all gradients of one staged tile of one block of channels."""
    states, no_bias = problem.states, splat(np.float32(0.0))
    skip = load(arrays.skip, block.table * LANES)
    rates_at = block.table * states * LANES
    recall_edges(problem, tile, block, work.h, arrays.saved)
    clear_outer_edges(problem, item, tile, block, work)
    clear_vectors(work.d_rates_top, 0, states)
    clear_vectors(work.d_rates_left, 0, states)
    for steps, slopes in ((work.tops, work.top_slopes), (work.lefts, work.left_slopes)):
        to_steps_and_slopes(steps, slopes, block.cells_at * LANES, tile.rows * tile.columns, no_bias, True)
    for row in range(tile.rows):
        at = (block.cells_at + row * tile.columns) * LANES
        cell = projection_cell(problem, item, 0, tile.i0 + row, tile.j0)
        recompute_row(problem, tile, row, work, at, arrays, rates_at, cell)
    d_skip = splat(np.float32(0.0))
    for row in range(tile.rows - 1, -1, -1):
        at = (block.cells_at + row * tile.columns) * LANES
        cell = projection_cell(problem, item, 0, tile.i0 + row, tile.j0)
        r_at = (block.left_at + row * states) * LANES
        p_at = block.top_at * LANES
        d_skip = d_skip + reverse_row(problem, tile, row, work, at, arrays, rates_at, skip, cell, sums_at, r_at, p_at)
    total = block.saved * LANES
    store(arrays.d_skip, total, load(arrays.d_skip, total) + d_skip)
    add_vectors(work.d_rates_top, arrays.d_rates_top, total * states, states)
    add_vectors(work.d_rates_left, arrays.d_rates_left, total * states, states)


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
        aligned_buffer(staged),
        aligned_buffer(staged),
        aligned_buffer(rows * columns * states),
        aligned_buffer(rows * columns * states),
        aligned_buffer((rows + 1) * (columns + 1) * states),
        aligned_buffer(together * row),
        aligned_buffer(together * column),
        aligned_buffer(states),
        aligned_buffer(states),
        new_sums(problem),
        new_sums(problem),
    )


@entry_point
def backward_kernel(
    counter, tasks, numbers, lengths, strides, mask, u, top, left, dout, du, d_top, d_left, B, C, rates_top, rates_left,
    skip, saved, dB, dC, d_rates_top, d_rates_left, d_skip,
):  # fmt: skip
    """Compute one task after the other until the shared counter runs out; `cpu` packs the arguments."""
    problem = unpack(numbers)
    arrays = BackwardArrays(B, C, rates_top, rates_left, skip, saved, d_rates_top, d_rates_left, d_skip)
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
            read_tile(problem, item, task, tile, visits, top, strides[1], work.tops)
            read_tile(problem, item, task, tile, visits, left, strides[2], work.lefts)
            read_tile(problem, item, task, tile, visits, dout, strides[3], work.dys)
            for number in range(task.last - task.first):
                block = block_at(problem, task, tile, number)
                reverse_tile(problem, item, tile, block, block_sums_at(problem, number), arrays, work)
                close_block(problem, work.b_sums, number, visits.starts[tile.rows])
                close_block(problem, work.c_sums, number, visits.starts[tile.rows])
            write_tile(problem, item, task, tile, visits, work.us, du, strides[4])
            write_tile(problem, item, task, tile, visits, work.tops, d_top, strides[5])
            write_tile(problem, item, task, tile, visits, work.lefts, d_left, strides[6])
            sums_at = task.first // problem.blocks_per_task * B.size
            write_sums(problem, item, task, tile, visits, work.b_sums, dB, sums_at)
            write_sums(problem, item, task, tile, visits, work.c_sums, dC, sums_at)
