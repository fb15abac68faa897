"""The tokens in all cells of a slide's raster."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from wsi2dmamba.models.parts.lattice import Lattice2D


class Cells:
    """A raster of tokens, whose cells without tissue hold one and the same token until a mixer tells them apart.

    Steps on every token by itself are then taken on the patches and that one token, not on the bounding box.

    Parameters
    ----------
    lattice
        Where the patches lie, or all cells that are told apart.
    rest
        (width,) token of every other cell; without `patches`, the whole (1, rows, cols, width) raster.
    patches
        (N, width) tokens of the lattice, if they are kept apart.
    """

    def __init__(self, lattice: Lattice2D, rest: Tensor, patches: Tensor | None = None) -> None:
        self.lattice = lattice
        self._rest, self._patches = rest, patches

    def each(self, step: Callable[[Tensor], Tensor]) -> Cells:
        """Take a step on every token by itself."""
        return Cells(self.lattice, step(self._rest), None if self._patches is None else step(self._patches))

    def around(self, step: Callable[[Tensor], Tensor], reach: int) -> Cells:
        """Take a step on the raster that sees `reach` cells around each, and zero beyond the raster.

        Where it sees neither a patch nor the border, all cells without tissue come out alike too.
        """
        raster = step(self.raster())
        near = self.lattice.grown(reach)
        size = near.rows * near.cols
        if self._patches is None or len(near.cells) == size:
            return Cells(self.lattice, raster)
        is_far = torch.ones(size, dtype=torch.bool, device=near.cells.device).index_fill_(0, near.cells, False)
        chosen = torch.cat([near.cells, is_far.nonzero()[0]])
        tokens = raster.reshape(size, -1).index_select(0, chosen)
        return Cells(near, tokens[-1], tokens[:-1])

    def raster(self) -> Tensor:
        """Return the (1, rows, cols, width) raster."""
        return self._rest if self._patches is None else self.lattice.scatter(self._patches, self._rest)

    def patches(self) -> Tensor:
        """Return the (N, width) tokens of the lattice."""
        return self.lattice.gather(self._rest) if self._patches is None else self._patches
