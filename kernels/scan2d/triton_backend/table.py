"""Launch choices: which tile, how many strips a program takes, how many programs hold workspace.

Programs are small (one to four warps); the tile sizes below are few, so that the first call compiles little and
every shipped variant is compiled ahead of time in the tests. The numbers are **predicted** from the cost model in
docs/operator.md, not measured: no GPU was at hand when they were set.
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
    states : int
        States a launch works on; more states than this take several launches.
    forward_channels, forward_warps : int
        Channels and warps of a program of the forward and adjoint-edge kernels. Lanes and warps beyond the
        channels divide the states among themselves.
    backward_channels, backward_warps : int
        The same for the main backward kernel.
    adjoint_columns : int
        Columns a program of the adjoint-edge kernel holds in registers.
    chunk : int
        Columns between two checkpoints of g in the backward.
    """

    rows: int = 8
    states: int = 16
    forward_channels: int = 8
    forward_warps: int = 1
    backward_channels: int = 16
    backward_warps: int = 4
    adjoint_columns: int = 2
    chunk: int = 16


@dataclass(frozen=True)
class Device:
    """What the launch choices need to know of a device."""

    multiprocessors: int
    warp_size: int


# Carry kernel: edges, states and channels of a program.
CARRY_STRIPS, CARRY_STATES, CARRY_CHANNELS = 16, 4, 8
# Sum kernel: terms added at a time, and outputs of a program.
SUM_TERMS, SUM_LANES = 4, 128

TILE_16 = Tile()
TILE_4 = Tile(states=4, backward_warps=2)
SHIPPED_TILES = (TILE_16, TILE_4)

# Two of its programs fit on a multiprocessor (255 registers, 128 threads); twice that evens out the end.
_PROGRAMS_PER_MULTIPROCESSOR = 4
_SERIAL_WARPS_PER_MULTIPROCESSOR = 4


def choose_tile(states: int) -> Tile:
    """Return the tile for this number of states."""
    return TILE_4 if states <= TILE_4.states else TILE_16


def chain_strips(warps: int, strips: int, device: Device) -> bool:
    """Whether a program should take all strips of its channels in turn: one launch and one exponential per state.

    Worth it once items and channels alone fill the device; below that, three passes with a program per strip
    do twice the exponentials on far more programs. `SCAN2D_TRITON_CHAIN=0|1` overrides.

    Parameters
    ----------
    warps : int
        Programs that run at once if each takes all strips.
    strips : int
        Strips of the tallest item.
    device : Device
    """
    forced = os.environ.get("SCAN2D_TRITON_CHAIN", "")
    if forced in ("0", "1"):
        return strips == 1 or forced == "1"
    return strips <= 2 or warps >= _SERIAL_WARPS_PER_MULTIPROCESSOR * device.multiprocessors


def gradient_programs(work: int, device: Device) -> int:
    """Return how many programs of the main backward kernel run, each taking its share of `work` strips."""
    return max(1, min(work, _PROGRAMS_PER_MULTIPROCESSOR * device.multiprocessors))


def carry_adjoint(width: int, strips: int) -> bool:
    """Whether λ should run up each strip on its own and be carried on, rather than up whole columns.

    A long walk up few columns (a 1D scan is one column) would leave the device empty.
    """
    return strips > 32 and strips > width // 2
