"""How the work is cut: blocks of sixteen channels, tiles of the grid, and slots for sums over channels.

A block of channels walks over its grid tile by tile. What enters a tile, g on its left edge and h on its top
edge, is saved by the forward, so the backward can recompute one tile at a time, last tile first. The
functions work on symbolic sizes too, for the fake kernel, and do not import numba.
"""

from __future__ import annotations

from dataclasses import dataclass

LANES = 16
TILE_COLUMNS = 32


def tile_rows(states: int) -> int:
    """Rows of a tile. Saved states are dim·N·H·W·(1/rows + 1/columns), so more states ask for more rows."""
    return 8 if states <= 16 else 16 if states <= 32 else 32


def ceil_div(a: int, b: int) -> int:
    """a / b rounded up."""
    return (a + b - 1) // b


def saved_shape(batch: int, dim: int, groups: int, states: int, height: int, width: int) -> tuple[int, ...]:
    """Return the shape of the boundary states.

    (batch, blocks, edge cells, N, lanes), where the edge cells are first the top edges of all tile
    rows but the first, `width` cells each, then the left edges of all tile columns but the first, `height`
    cells each.
    """
    blocks = groups * ceil_div(dim // groups, LANES)
    inner_rows = ceil_div(height, tile_rows(states)) - 1
    inner_columns = ceil_div(width, TILE_COLUMNS) - 1
    return (batch, blocks, inner_rows * width + inner_columns * height, states, LANES)


@dataclass(frozen=True)
class Blocks:
    """Channels in blocks of sixteen, none across two groups.

    Parameters
    ----------
    dim : int
        Number of channels.
    groups : int
        Number of groups that `dim` is divided into.
    """

    dim: int
    groups: int

    @property
    def per_group(self) -> int:
        """Number of blocks in one group."""
        return ceil_div(self.dim // self.groups, LANES)

    @property
    def total(self) -> int:
        """Number of blocks."""
        return self.groups * self.per_group

    def per_task(self, batch: int, states: int, threads: int, channels_last: bool) -> int:
        """Number of consecutive blocks that walk over the grid together: a power of two (see `sums`).

        Together they use more of every cache line and page they touch where channels lie side by side, but
        fewer tasks balance worse: there are at least two per thread, if there are enough blocks. Every task of a
        group has a partial sum of dB and dC of its own; all of them take no more memory than u and delta.
        """
        balanced = batch * self.total // (2 * threads)
        wanted = min(4 if channels_last else 2, balanced, self.per_group)
        fewest = ceil_div(self.per_group, max(1, self.dim // self.groups // states))
        return _power_of_two(max(wanted, 1)) if wanted >= fewest else 2 * _power_of_two(max(fewest - 1, 1))


def _power_of_two(number: int) -> int:
    """Return the largest power of two that is not above a number."""
    return 1 << (number.bit_length() - 1)
