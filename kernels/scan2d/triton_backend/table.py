"""Launch choices: which tile, how many strips a program takes, how many programs hold workspace.

Programs are small (one or two warps); the tile sizes below are few, so that the first call compiles little and
every shipped variant is compiled ahead of time in the tests. The numbers are **predicted** from the cost model in
docs/operator.md, not measured: no GPU was at hand when they were set. `autotune` measures instead where asked to.
"""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Tile:
    """Compile-time sizes of the kernels.

    Parameters
    ----------
    rows : int
        Rows of a strip; they lie in registers. Also fixes the layout of what the forward saves.
    quad, backward_quad : int
        Neighbouring states in the registers of one lane; in the backward two, because with four Triton 3.6 spills.
    states : int
        States a launch works on; more states than this take several launches.
    forward_channels, backward_channels : int
        Channels of a program of the kernels that walk along rows.
    column_channels, column_rows : int
        Channels, and rows at a time, of a program of the kernels that walk along columns.
    chunk : int
        Columns between two places where g is saved for the backward.
    """

    rows: int = 8
    quad: int = 4
    backward_quad: int = 2
    states: int = 16
    forward_channels: int = 8
    backward_channels: int = 16
    column_channels: int = 32
    column_rows: int = 2
    chunk: int = 8

    def forward_lanes(self) -> int:
        """Lanes of a program of the forward: one for every channel and quad of states."""
        return self.forward_channels * (self.states // self.quad)

    def backward_lanes(self) -> int:
        """Lanes of a program of the main backward kernel."""
        return self.backward_channels * (self.states // self.backward_quad)


@dataclass(frozen=True)
class Device:
    """What the launch choices need to know of a device."""

    multiprocessors: int
    warp_size: int


@dataclass(frozen=True)
class Launch:
    """How one direction of a call is cut into programs; `chained` means the forward only, `programs` the backward.

    Parameters
    ----------
    chained : bool
        Whether a program takes all strips of its channels in turn.
    carried : bool
        Whether a launch of its own makes the edges of strips true.
    programs : int
        Programs of the main backward kernel per multiprocessor, each with scratch of its own.
    """

    chained: bool
    carried: bool
    programs: int


# Carry kernel: edges, channels and states of a program.
CARRY_STRIPS, CARRY_CHANNELS, CARRY_STATES = 8, 2, 16
# Sum kernel: terms added at a time, and outputs of a program.
SUM_TERMS, SUM_LANES = 4, 128

TILE_16 = Tile()
TILE_4 = Tile(states=4, quad=1, backward_quad=1)
SHIPPED_TILES = (TILE_16, TILE_4)

# Twice as many programs of the main backward kernel as fit on a multiprocessor (four warps).
PROGRAMS_PER_MULTIPROCESSOR = 4
# Programs in a chain do half the exponentials; worth it once they alone keep every scheduler busy with two warps.
CHAINED_WARPS_PER_MULTIPROCESSOR = 8


def choose_tile(states: int, has_mask: bool) -> Tile:
    """Return the tile for this number of states; with a mask the small tile's backward would spill."""
    return TILE_4 if states <= TILE_4.states and not has_mask else TILE_16


def chain_strips(warps: int, strips: int, has_mask: bool, device: Device) -> bool:
    """Whether a program should take all strips of its channels in turn: one launch and one exponential per state.

    Worth it once items and channels alone fill the device; below that, two passes with a program per strip
    do twice the exponentials on far more programs. Never with a mask: there the chain's registers would spill.
    `SCAN2D_TRITON_CHAIN=0|1` overrides the rest.

    Parameters
    ----------
    warps : int
        Programs, of a warp each, that run at once if each takes all strips.
    strips : int
        Strips of the tallest item.
    has_mask : bool
        Whether cells are skipped.
    device : Device
    """
    if has_mask:
        return False
    forced = os.environ.get("SCAN2D_TRITON_CHAIN", "")
    if forced in ("0", "1"):
        return strips == 1 or forced == "1"
    return strips <= 2 or warps >= CHAINED_WARPS_PER_MULTIPROCESSOR * device.multiprocessors


def gradient_programs(work: int, launch: Launch, device: Device) -> int:
    """Return how many programs of the main backward kernel run at a time, of `work` in all."""
    return max(1, min(work, launch.programs * device.multiprocessors))


def carry_edges(width: int, strips: int) -> bool:
    """Whether the edges of strips are made true by a pass of their own, so that nothing walks down whole columns.

    A long walk down few columns (a 1D scan is one column) would leave the device empty.
    """
    return strips > 32 and strips > width // 2


def default_launch(blocks: int, strips: int, width: int, has_mask: bool, device: Device) -> Launch:
    """Return the launch for a grid of `strips` strips, `width` columns and, with its batch, `blocks` channel blocks."""
    chained = chain_strips(blocks, strips, has_mask, device)
    return Launch(chained, carry_edges(width, strips), PROGRAMS_PER_MULTIPROCESSOR)
