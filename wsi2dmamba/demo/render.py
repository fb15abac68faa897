"""From a planned slide to an SVS file: patches on the lattice, glass around them, an irregular edge between."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.demo.cohort import SlidePlan
from wsi2dmamba.demo.layout import GLASS
from wsi2dmamba.demo.svs import SvsLayout, write_svs
from wsi2dmamba.demo.tiles import ROLES, TileBank

PATCH_PX = 224
"""Side of a lattice cell in level-0 pixels; the lattice starts at (0, 0), as that of `wsi2dmamba tile` does."""

SLIDE_MPP = 0.5

_EDGE_SCALE = 8


@dataclass(frozen=True)
class RenderTask:
    """One slide to write.

    Attributes
    ----------
    path
        Where to.
    plan
        What lies on it.
    bank
        Where its patches come from.
    """

    path: Path
    plan: SlidePlan
    bank: TileBank


def render_slide(task: RenderTask) -> Path:
    """Write one slide and return its path.

    Raises
    ------
    InputError
        If a patch cannot be read or the file cannot be written.
    """
    picture = SlidePicture(task.plan, task.bank)
    write_svs(task.path, picture.size, picture.region, SvsLayout(mpp=SLIDE_MPP, magnification=20))
    return task.path


class SlidePicture:
    """Level 0 of a planned slide, served region by region.

    Parameters
    ----------
    plan
        What lies where.
    bank
        The patches.
    """

    def __init__(self, plan: SlidePlan, bank: TileBank) -> None:
        self._plan = plan
        self._bank = bank
        self._rng = np.random.default_rng(plan.seed)
        side = plan.layout.shape[0] * PATCH_PX
        # No scanner stops at a multiple of the patch.
        ragged = self._rng.integers(16, PATCH_PX - 16, size=2)
        self.size = (side + int(ragged[0]), side + int(ragged[1]))

    def region(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """Return (height, width, 3) uint8 of level 0 from (x, y) on."""
        glass = np.asarray(self._plan.stain.glass, dtype=np.uint8)
        region = np.empty((height, width, 3), dtype=np.uint8)
        region[:] = glass
        for row in range(y // PATCH_PX, (y + height - 1) // PATCH_PX + 1):
            for column in range(x // PATCH_PX, (x + width - 1) // PATCH_PX + 1):
                patch = self._cells.get((row, column))
                if patch is not None:
                    _paste(region, patch, column * PATCH_PX - x, row * PATCH_PX - y)
        return region

    @cached_property
    def _cells(self) -> dict[tuple[int, int], NDArray[np.uint8]]:
        """The stained patches by (row, col), glass where the tissue ends within a cell."""
        coverage = self._coverage()
        glass = np.asarray(self._plan.stain.glass, dtype=np.float32)
        cells = {}
        for role, patches in self._plan.patches.items():
            places = np.argwhere(self._plan.layout == ROLES.index(role))
            for (row, column), (index, symmetry) in zip(places, patches, strict=True):
                patch = self._plan.stain.apply(_turned(self._bank.load(role, int(index), PATCH_PX), int(symmetry)))
                covered = _cell_of(coverage, int(row), int(column))
                if covered.min() < 1:
                    alpha = cv2.resize(covered, (PATCH_PX, PATCH_PX), interpolation=cv2.INTER_LINEAR)[..., None]
                    patch = np.rint(patch * alpha + glass * (1 - alpha)).astype(np.uint8)
                cells[int(row), int(column)] = patch
        return cells

    def _coverage(self) -> NDArray[np.float32]:
        """Return how much tissue covers each 8x8 block of pixels: the cells' union, its edge worn by noise."""
        cell = PATCH_PX // _EDGE_SCALE
        tissue = np.kron(self._plan.layout >= 0, np.ones((cell, cell))).astype(np.float32)
        soft = cv2.GaussianBlur(tissue, (0, 0), 0.3 * cell)
        noise = cv2.GaussianBlur(self._rng.standard_normal(tissue.shape).astype(np.float32), (0, 0), 0.2 * cell)
        edge = soft + 0.05 * noise / noise.std() - 0.64
        # Only the outer band may wear: glass in a tumour or infiltrate cell would tell that the cell lies at the rim.
        band = np.isin(self._plan.layout, [ROLES.index("stroma"), ROLES.index("fat"), GLASS])
        worn = np.where(np.kron(band, np.ones((cell, cell), dtype=bool)), edge * 12 + 0.5, 1.0)
        return np.asarray(np.clip(worn, 0, 1), dtype=np.float32)


def _cell_of(coverage: NDArray[np.float32], row: int, column: int) -> NDArray[np.float32]:
    cell = PATCH_PX // _EDGE_SCALE
    return coverage[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell]


def _turned(patch: NDArray[np.uint8], symmetry: int) -> NDArray[np.uint8]:
    turned = np.rot90(patch, symmetry % 4)
    return np.ascontiguousarray(turned[:, ::-1] if symmetry >= 4 else turned)


def _paste(region: NDArray[np.uint8], patch: NDArray[np.uint8], left: int, top: int) -> None:
    """Put `patch` with its corner at (left, top) of `region`, cut at the edges."""
    rows = slice(max(top, 0), min(top + patch.shape[0], region.shape[0]))
    columns = slice(max(left, 0), min(left + patch.shape[1], region.shape[1]))
    region[rows, columns] = patch[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
