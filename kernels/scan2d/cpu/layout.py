"""Torch tensors as what the kernels take: flat float32 arrays with strides, and tables in blocks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from scan2d.cpu.tiling import LANES, Blocks

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_NOTHING = torch.zeros(1)


def flat(tensor: Tensor | None) -> tuple[FloatArray, tuple[int, ...]]:
    """Return the memory that a float32 tensor covers as a 1D array, and the strides to address it; no copy.

    Half and bfloat16 tensors are copied to float32. An absent tensor is a dummy with zero strides.
    """
    if tensor is None:
        return _NOTHING.numpy(), (0, 0, 0, 0)
    tensor = tensor.detach().to(torch.float32)
    extent = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.as_strided((extent,), (1,)).numpy(), tensor.stride()


def cells_first(projection: Tensor) -> FloatArray:
    """(batch, groups, N, H, W) to a flat array (batch, groups, H, W, N); no copy if it lies so."""
    return projection.detach().to(torch.float32).permute(0, 1, 3, 4, 2).contiguous().numpy().reshape(-1)


def states_first(partial_sums: Tensor, shape: torch.Size) -> Tensor:
    """Add up (parts, …) in the order of `cells_first`, as a binary tree, and undo that order: (batch, groups, N, H, W).

    The partial sums are used up.
    """
    batch, groups, states, height, width = shape
    while len(partial_sums) > 2:
        pairs = len(partial_sums) // 2
        partial_sums[: 2 * pairs : 2] += partial_sums[1 : 2 * pairs : 2]
        partial_sums = partial_sums[::2]
    total = partial_sums[0] + partial_sums[1] if len(partial_sums) == 2 else partial_sums[0].clone()
    return total.view(batch, groups, height, width, states).permute(0, 1, 4, 2, 3)


def in_blocks(table: Tensor, blocks: Blocks, factor: float = 1.0) -> FloatArray:
    """(dim, N), times a factor, to a flat array (blocks, N, lanes), zero in the lanes that are no channel."""
    per_channel = factor * table.detach().to(torch.float32).reshape(blocks.groups, blocks.dim // blocks.groups, -1)
    padded = torch.zeros(blocks.groups, blocks.per_group * LANES, per_channel.shape[2])
    padded[:, : per_channel.shape[1]] = per_channel
    return padded.view(blocks.total, LANES, -1).transpose(1, 2).contiguous().numpy().reshape(-1)


def out_of_blocks(table: Tensor, blocks: Blocks) -> Tensor:
    """Undo `in_blocks`: (blocks, N, lanes) to (dim, N)."""
    states = table.shape[1]
    padded = table.transpose(1, 2).reshape(blocks.groups, blocks.per_group * LANES, states)
    return padded[:, : blocks.dim // blocks.groups].reshape(blocks.dim, states)


def new_memory(elements: int, zero: bool = False) -> Tensor:
    """Allocate float32 elements with NumPy, because NumPy asks Linux for huge pages and torch does not.

    A tenth of the forward's time on a large grid went into page faults otherwise.
    """
    return torch.from_numpy((np.zeros if zero else np.empty)(elements, dtype=np.float32))


def new_like(tensor: Tensor, zero: bool) -> Tensor:
    """Return a float32 tensor with the strides of `torch.empty_like(tensor)`, filled with zeros if `zero`."""
    strides = torch.empty_like(tensor, device="meta").stride()
    return new_memory(tensor.numel(), zero).as_strided(tensor.shape, strides)


def item_sizes(u: Tensor, lengths: Tensor | None) -> IntArray:
    """(batch, 2): rows and columns of every item."""
    if lengths is None:
        return np.tile(np.array(u.shape[2:], dtype=np.int64), (u.shape[0], 1))
    return np.ascontiguousarray(lengths.numpy(), dtype=np.int64)


def visited(mask: Tensor | None) -> npt.NDArray[np.bool_]:
    """Return a mask (batch, H, W) as a flat array; an absent one is a dummy."""
    return np.ones(1, dtype=np.bool_) if mask is None else mask.contiguous().numpy().reshape(-1)
