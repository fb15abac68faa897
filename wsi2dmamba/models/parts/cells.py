"""The tokens in all cells of a slide's raster."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from wsi2dmamba.models.parts.lattice import Lattice2D


class Cells:
    """A raster of tokens, whose cells without tissue hold one and the same token until a mixer tells them apart.

    Steps on every token by itself are then taken on the patches and that one token, not on the bounding box.

    Parameters
    ----------
    lattice
        Where the patches lie.
    rest
        (width,) token of every cell without tissue; without `patches`, the whole (1, rows, cols, width) raster.
    patches
        (N, width) tokens of the patches, if they are kept apart.
    """

    def __init__(self, lattice: Lattice2D, rest: Tensor, patches: Tensor | None = None) -> None:
        self.lattice = lattice
        self._rest, self._patches = rest, patches

    def each(self, step: Callable[[Tensor], Tensor]) -> Cells:
        """Take a step on every token by itself."""
        return Cells(self.lattice, step(self._rest), None if self._patches is None else step(self._patches))

    def raster(self) -> Tensor:
        """Return the (1, rows, cols, width) raster."""
        return self._rest if self._patches is None else self.lattice.scatter(self._patches, self._rest)

    def patches(self) -> Tensor:
        """Return the (N, width) tokens of the patches."""
        return self.lattice.gather(self._rest) if self._patches is None else self._patches
