"""`wsi2dmamba inspect`: what is in a file, in words and a small picture."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.core.errors import StoreError
from wsi2dmamba.features.convert import ConvertOptions, read_any
from wsi2dmamba.features.foreign.formats import detect_format

_SHADES = " ░▒▓█"


def describe_file(path: Path, width: int = 64) -> list[str]:
    """Return lines that say what a tile or feature file holds.

    Parameters
    ----------
    path
        Ours, or one of CLAM, TRIDENT, STAMP or AtlasPatch.
    width
        Columns of the map of the tissue.

    Raises
    ------
    StoreError
        If it cannot be read.
    """
    if not path.is_file():
        raise StoreError(f"{path} does not exist")
    try:
        with h5py.File(path, "r") as file:
            kind = detect_format(file)
            datasets: list[str] = []
            file.visititems(lambda name, item: datasets.append(_dataset_line(name, item)))
    except OSError as error:
        raise StoreError(f"{path} is not a whole HDF5 file (cut short or damaged)") from error
    if kind is None:
        raise StoreError(f"{path} is HDF5, but of no tool known here")
    table = read_any(path, ConvertOptions("wsi2dmamba", on_collision="first"))
    tiles, geometry = table.tiles, table.tiles.geometry
    rows, cols = geometry.lattice.shape
    lines = [
        f"{path.name}: {kind} file of slide {geometry.slide_id}",
        f"  patches   {len(tiles)} on a grid of {rows} × {cols}, step {geometry.lattice.step_level0} level-0 px",
        f"  patch     {geometry.patch_px} px at {geometry.mpp:.4g} µm/px = {geometry.patch_size_level0} level-0 px",
        f"  slide     {geometry.level0_size[0]} × {geometry.level0_size[1]} px at {geometry.slide_mpp:.4g} µm/px",
    ]
    if table.features is not None:
        lines.append(_feature_line(table.features, table.encoder, table.revision))
    lines.append(f"  settings  {tiles.settings}")
    lines += [f"  {line}" for line in datasets if line]
    return lines + [f"  │{line}│" for line in tissue_map(tiles.grid, (rows, cols), width)]


def tissue_map(grid: NDArray[np.integer], shape: tuple[int, int], width: int = 64) -> list[str]:
    """Return the grid as lines of characters, darker where more of the cells hold a patch."""
    if not len(grid):
        return []
    across = max(-(-shape[1] // width), 1)
    down = 2 * across  # characters are about twice as high as wide
    counts = np.zeros((-(-shape[0] // down), -(-shape[1] // across)))
    np.add.at(counts, (grid[:, 0] // down, grid[:, 1] // across), 1.0)
    level = np.ceil(counts / (down * across) * (len(_SHADES) - 1)).astype(int).clip(0, len(_SHADES) - 1)
    return ["".join(_SHADES[value] for value in row) for row in level]


def _feature_line(features: NDArray[np.floating], encoder: str, revision: str) -> str:
    matrix = features.astype(np.float32)
    finite = np.isfinite(matrix).all(axis=1)
    spread = f"mean {matrix[finite].mean():.3g}, std {matrix[finite].std():.3g}" if finite.any() else "none finite"
    bad = "" if finite.all() else f", {int((~finite).sum())} NOT FINITE"
    return f"  features  {features.shape[1]} × {features.dtype} by {encoder} ({revision or '?'}): {spread}{bad}"


def _dataset_line(name: str, item: h5py.HLObject) -> str:
    if not isinstance(item, h5py.Dataset):
        return ""
    return f"dataset   {name} {item.shape} {item.dtype}, chunks {item.chunks}"
