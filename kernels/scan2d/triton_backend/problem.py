"""One call of the operator as the kernels see it: sizes, flags, and tensors that are always there."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from scan2d.triton_backend import table
from scan2d.triton_backend.device import compile_options, device_of


class Problem:
    """Sizes and inputs of one call; a 1D scan (one row) becomes one column, whose strips run in parallel.

    Absent tensors are replaced by ones the kernels may be pointed at: zeros for `D` and `delta_bias`, `u` for
    `z`, anything for `lengths` and `mask`. Parameters as in `scan2d.backends`.
    """

    def __init__(
        self,
        u: Tensor,
        delta: Tensor,
        A: Tensor,
        B: Tensor,
        C: Tensor,
        D: Tensor | None,
        z: Tensor | None,
        delta_bias: Tensor | None,
        delta_softplus: bool,
        start: str,
        lengths: Tensor | None,
        mask: Tensor | None = None,
    ) -> None:
        self.swap = u.shape[2] == 1
        self.u, self.delta, self.B, self.C = (self.swapped(x) for x in (u, delta, B, C))
        self.z = self.u if z is None else self.swapped(z)
        self.A = A
        zeros = _zeros(A.shape[0], u.device)
        self.D = zeros if D is None else D.contiguous()
        self.bias = zeros if delta_bias is None else delta_bias.contiguous()
        self.ragged = int(lengths is not None)
        if lengths is not None and self.swap:
            lengths = lengths.flip(1)
        self.lengths = _no_lengths(u.device) if lengths is None else lengths.contiguous()
        self.has_mask = mask is not None
        # A bool tensor is bytes to the kernels, read only if HAS_MASK.
        self.mask = _no_mask(u.device) if mask is None else self.swapped(mask).view(torch.uint8)
        self.batch, self.dim, self.height, self.width = self.u.shape
        self.groups, self.states = B.shape[1], A.shape[1]
        self.channels_per_group = self.dim // self.groups
        self.softplus, self.has_z = int(delta_softplus), int(z is not None)
        bottom, right = start.startswith("bottom"), start.endswith("right")
        if self.swap:
            bottom, right = right, bottom
        self.from_bottom, self.from_right = int(bottom), int(right)
        self.tile = table.choose_tile(self.states, self.has_mask)
        self.quads = -(-self.states // 4)
        self.strips = -(-self.height // self.tile.rows)
        self.launches = -(-self.states // self.tile.states)
        self.warp_size = device_of(u.device).warp_size

    def options(self, lanes: int = 32) -> dict[str, int]:
        """Options of a launch whose programs have that many lanes."""
        return compile_options(lanes, self.warp_size, torch.version.hip is None)

    def swapped(self, x: Tensor) -> Tensor:
        """View with rows and columns exchanged, if the kernels run this problem that way."""
        return x.transpose(-1, -2) if self.swap else x

    def channel_blocks(self, channels: int) -> int:
        """Blocks of `channels` channels; none straddles two groups."""
        return self.groups * -(-self.channels_per_group // channels)

    def fresh(self, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Return an output like `like`; zero if some cells of a ragged batch are never written."""
        make = torch.zeros_like if self.ragged else torch.empty_like
        return make(like, dtype=dtype)


@functools.lru_cache(maxsize=32)
def _zeros(size: int, device: torch.device) -> Tensor:
    return torch.zeros(size, dtype=torch.float32, device=device)


@functools.lru_cache(maxsize=32)
def _no_lengths(device: torch.device) -> Tensor:
    return torch.zeros(2, dtype=torch.int64, device=device)


@functools.lru_cache(maxsize=32)
def _no_mask(device: torch.device) -> Tensor:
    return torch.ones(1, 1, 1, dtype=torch.uint8, device=device)
