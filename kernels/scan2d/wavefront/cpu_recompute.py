"""The states of one tile computed again in the backward, from the edges that the forward saved."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from scan2d.cpu.cells import clear_vectors, copy_vectors, saved_left_edge, saved_top_edge
from scan2d.cpu.compiled import compiled
from scan2d.cpu.tiling import LANES
from scan2d.cpu.vector import fma, load, load_splat, store
from scan2d.cpu.vector_math import exp2
from scan2d.wavefront.cpu_forward import decay_exponent, entry_weights


@compiled
def state_at(problem, row, column):
    """Where h of a cell of the tile lies, in elements; row and column -1 are the edges."""
    return ((row + 1) * (problem.tile_columns + 1) + column + 1) * problem.states * LANES


@compiled
def recall_edges(problem, tile, block, h, saved):
    """Fetch what flowed into the tile in the forward."""
    states = problem.states
    top_at, top_count = state_at(problem, -1, 0), tile.columns * states
    if tile.down == 0:
        clear_vectors(h, top_at, top_count)
    else:
        copy_vectors(saved, saved_top_edge(problem, block, tile), h, top_at, top_count)
    left = saved_left_edge(problem, block, tile)
    for row in range(tile.rows):
        left_at = state_at(problem, row, -1)
        if tile.across == 0:
            clear_vectors(h, left_at, states)
        else:
            copy_vectors(saved, left + row * states * LANES, h, left_at, states)


@compiled
def recompute_row(problem, tile, row, work, at, arrays, rates_at, cell):
    """Compute both decays, weighted, and h of one row of the tile again, and keep them."""
    per_cell = problem.states * LANES
    a_at = row * problem.tile_columns * per_cell
    here = state_at(problem, row, 0)
    above = state_at(problem, row - 1, 0)
    for k in range(tile.columns):
        j = at + k * LANES
        top, left = load(work.tops, j), load(work.lefts, j)
        exponent = decay_exponent(tile.i0 + row, tile.j0 + k)
        from_top, from_left = entry_weights(tile.i0 + row, tile.j0 + k)
        x = fma(from_top, top, from_left * left) * load(work.us, j)
        for n in range(problem.states):
            s = n * LANES
            a_top = exp2(fma(top, load(arrays.rates_top, rates_at + s), exponent))
            a_left = exp2(fma(left, load(arrays.rates_left, rates_at + s), exponent))
            store(work.a_top, a_at + s, a_top)
            store(work.a_left, a_at + s, a_left)
            inflow = fma(a_top, load(work.h, above + s), a_left * load(work.h, here - per_cell + s))
            store(work.h, here + s, fma(x, load_splat(arrays.B, cell + n), inflow))
        cell += problem.states
        a_at += per_cell
        here += per_cell
        above += per_cell
