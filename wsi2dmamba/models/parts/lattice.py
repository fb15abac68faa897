"""Patches on their lattice, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wsi2dmamba.core.errors import ModelError
from wsi2dmamba.models.base import Bag


@dataclass(frozen=True)
class Lattice2D:
    """Which cells of a rows × cols raster hold a patch.

    Attributes
    ----------
    rows, cols
        Size of the raster.
    cells
        (N,) int64, the row-major cell of every patch, in the bag's order.
    """

    rows: int
    cols: int
    cells: Tensor

    @classmethod
    def of(cls, bag: Bag, fixed_shape: tuple[int, int] | None = None) -> Lattice2D:
        """Lay a bag on its own bounding box, or on a fixed raster from the bag's top-left.

        Raises
        ------
        ModelError
            If the bag does not fit the fixed raster.
        """
        corner = bag.grid.amin(dim=0)
        grid = bag.grid - corner
        rows, cols = (int(size) + 1 for size in grid.amax(dim=0).tolist())
        if fixed_shape is not None:
            if rows > fixed_shape[0] or cols > fixed_shape[1]:
                raise ModelError(
                    f"a slide of {rows} × {cols} patches does not fit the model's grid_shape "
                    f"{fixed_shape[0]} × {fixed_shape[1]}; set a larger one, or none for each slide's own box"
                )
            rows, cols = fixed_shape
        return cls(rows, cols, grid[:, 0] * cols + grid[:, 1])

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return self.rows, self.cols

    def occupied(self) -> Tensor:
        """Return (rows·cols,) bool: which cells hold a patch."""
        mask = torch.zeros(self.rows * self.cols, dtype=torch.bool, device=self.cells.device)
        mask[self.cells] = True
        return mask

    def scatter(self, tokens: Tensor, background: Tensor) -> Tensor:
        """Return (1, rows, cols, width): (N, width) tokens in their cells, `background` (width,) elsewhere."""
        raster: Tensor = _Scatter.apply(tokens, background, self.cells, self.rows * self.cols)
        return raster.view(1, self.rows, self.cols, -1)

    def neighbours(self, side: int) -> Tensor:
        """Return (side², N): the token in every cell of the side × side window around each token, row by row.

        N, one beyond the last token, stands for a cell without one.
        """
        reach = side // 2
        wide = self.cols + 2 * reach
        around = self.cells.new_full(((self.rows + 2 * reach) * wide,), len(self.cells))
        corner = self.cells // self.cols * wide + self.cells % self.cols
        around[corner + reach * (wide + 1)] = torch.arange(len(self.cells), device=self.cells.device)
        steps = torch.arange(side, device=self.cells.device)
        window = (steps[:, None] * wide + steps).flatten()
        return around[corner + window[:, None]]

    def grown(self, reach: int) -> Lattice2D:
        """Return the cells within `reach` of a patch, along rows, columns or both, or of the raster's border."""
        mask = self.occupied().view(1, 1, *self.shape).float()
        near = torch.nn.functional.max_pool2d(mask, 2 * reach + 1, 1, reach).view(self.shape) > 0
        near[:reach] = near[self.rows - reach :] = True
        near[:, :reach] = near[:, self.cols - reach :] = True
        return Lattice2D(self.rows, self.cols, near.flatten().nonzero().squeeze(1))

    def gather(self, raster: Tensor) -> Tensor:
        """Return the (N, width) tokens of the patches from a (1, rows, cols, width) raster."""
        return raster.reshape(self.rows * self.cols, -1).index_select(0, self.cells)


class _Scatter(torch.autograd.Function):
    """Rows among rows of background. Torch's own way back through `index_copy` copies the whole gradient."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, background: Tensor, cells: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(cells)
        return background.expand(size, -1).index_copy(0, cells, tokens)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (cells,), gradient = ctx.saved_tensors, upstream[0]
        elsewhere = gradient.new_ones(len(gradient)).index_fill_(0, cells, 0) @ gradient
        return gradient.index_select(0, cells), elsewhere, None, None


def connected_pieces(bag: Bag, reach: int = 2) -> list[Tensor]:
    """Return the patches of each connected piece of tissue: one (n,) tensor of indices into the bag per piece.

    Patches within `reach` cells of each other, along rows, columns or both, belong to one piece.
    """
    from scipy.ndimage import binary_dilation, label

    grid = (bag.grid - bag.grid.amin(dim=0)).cpu().numpy()
    occupied = np.zeros(grid.max(axis=0) + reach, dtype=bool)
    occupied[grid[:, 0], grid[:, 1]] = True
    # Growing every cell down and right by reach - 1 lets cells up to `reach` apart touch.
    grown = binary_dilation(occupied, np.ones((reach, reach), dtype=bool), origin=-(reach // 2) if reach > 1 else 0)
    pieces = torch.from_numpy(label(grown, np.ones((3, 3)))[0][grid[:, 0], grid[:, 1]]).to(bag.grid.device)
    return [(pieces == piece).nonzero().squeeze(1) for piece in torch.unique(pieces)]
