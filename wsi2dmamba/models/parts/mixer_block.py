"""The residual block of every aggregator on a raster, and the mixers it holds."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from wsi2dmamba.models.parts.blocks import DropPath, RMSNorm, feed_forward
from wsi2dmamba.models.parts.cells import Cells
from wsi2dmamba.models.parts.lattice import Lattice2D


class TokenwiseEnds(nn.Module, ABC):
    """A mixer of rasters whose first and last steps are on every token by itself.

    Before the first block all cells without tissue hold the same token, and after the last nobody reads them: there
    the block takes these steps without them.
    """

    @abstractmethod
    def enter(self, tokens: Tensor) -> Tensor:
        """Return the (…, inner) tokens to be mixed of (…, dim) ones."""

    @abstractmethod
    def mix(self, cells: Cells) -> Tensor:
        """Return the (1, rows, cols, inner) raster of all cells, mixed."""

    @abstractmethod
    def gate(self, tokens: Tensor) -> Tensor:
        """Return the (…, inner) factors of the mixed tokens, from the (…, dim) tokens that entered."""

    @abstractmethod
    def leave(self, mixed: Tensor, gate: Tensor) -> Tensor:
        """Return (…, dim) tokens of (…, inner) mixed ones and their gate."""

    def forward(self, raster: Tensor, lattice: Lattice2D) -> Tensor:
        """Mix a (1, rows, cols, dim) raster."""
        return self.leave(self.mix(Cells(lattice, self.enter(raster))), self.gate(raster))


class MixerBlock(nn.Module):
    """x + mixer(norm(x)), with stochastic depth.

    Parameters
    ----------
    width
        Number of channels.
    mixer
        Module from (raster, `Lattice2D`) to a raster.
    drop_path
        Probability of skipping the mixer, and the feed-forward network, in training.
    mlp_ratio
        Hidden width of the feed-forward network per channel; 0: none.
    """

    def __init__(self, width: int, mixer: nn.Module, drop_path: float, mlp_ratio: float = 0.0) -> None:
        super().__init__()
        self.norm = RMSNorm(width)
        self.mixer = mixer
        self.drop_path = DropPath(drop_path)
        self.feed_forward = feed_forward(width, mlp_ratio) if mlp_ratio else None

    def forward(self, cells: Cells) -> Cells:
        """Return all cells after the block."""
        normed, lattice = cells.each(self.norm), cells.lattice
        if isinstance(self.mixer, TokenwiseEnds):
            mixed = self.mixer.mix(normed.each(self.mixer.enter))
            branch = self.mixer.leave(mixed, normed.each(self.mixer.gate).raster())
        else:
            branch = self.mixer(normed.raster(), lattice)
        return Cells(lattice, self._add(cells.raster(), branch))

    def at_patches(self, cells: Cells) -> Tensor:
        """Return the (N, width) tokens of the patches after the block."""
        normed, lattice = cells.each(self.norm), cells.lattice
        if isinstance(self.mixer, TokenwiseEnds):
            mixed = self.mixer.mix(normed.each(self.mixer.enter))
            branch = self.mixer.leave(lattice.gather(mixed), self.mixer.gate(normed.patches()))
        else:
            branch = lattice.gather(self.mixer(normed.raster(), lattice))
        return self._add(cells.patches().unsqueeze(0), branch.unsqueeze(0)).squeeze(0)

    def _add(self, tokens: Tensor, branch: Tensor) -> Tensor:
        mixed: Tensor = tokens + self.drop_path(branch)
        if self.feed_forward is not None:
            mixed = mixed + self.drop_path(self.feed_forward(mixed))
        return mixed
