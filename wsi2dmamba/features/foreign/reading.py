"""A file of another tool as patches on one lattice."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.core.errors import StoreError
from wsi2dmamba.features.foreign.formats import OURS_GROUP, Facts, RawTable, facts_of, read_raw
from wsi2dmamba.features.foreign.snapping import infer_step, merge, resolve_collisions, snap
from wsi2dmamba.features.foreign.source import Source
from wsi2dmamba.slides.tilefile import TileFile, TileGeometry, read_tile_datasets

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ForeignTable:
    """Patches of another tool on one lattice.

    Attributes
    ----------
    tiles
        Where they lie, in row-major order.
    features
        (N, D) in that order, or None in a coordinates file.
    encoder
        What the file says, or ``unknown``.
    source
        The way back; None when patches that shared a cell were merged, or the file was ours before.
    revision, extraction
        Known only when the file was ours before.
    """

    tiles: TileFile
    features: NDArray[np.floating] | None
    encoder: str
    source: Source | None
    revision: str = ""
    extraction: str = "{}"


def read_foreign(
    path: Path,
    on_collision: str = "error",
    slide_mpp: float | None = None,
    encoder: str | None = None,
) -> ForeignTable:
    """Read a CLAM, TRIDENT, STAMP or AtlasPatch file.

    Parameters
    ----------
    path
        A feature or coordinates file.
    on_collision
        What to do when two patches share a cell: ``error``, ``mean`` or ``first``.
    slide_mpp
        µm per level-0 pixel, where the file does not say it. What nobody says stays NaN; nothing is guessed.
    encoder
        Which features, for AtlasPatch files that hold several.

    Raises
    ------
    StoreError, LatticeError
        If the file is unreadable, its step cannot be told, or patches share a cell.
    """
    raw = read_raw(path, encoder)
    ours = _as_it_was(path, raw)
    if ours is not None:
        return ours
    facts = _with_companion(facts_of(raw, slide_mpp), raw, path, slide_mpp)
    step = facts.step_level0 or infer_step(facts.xy_level0) or _rounded(facts.patch_size_level0)
    if step is None:
        raise StoreError(f"{path}: too few patches to tell the step between them")
    snapped = snap(facts.xy_level0, step)
    cells = resolve_collisions(snapped.grid, on_collision, str(path))
    grid = snapped.grid[cells.order]
    slide_id = path.stem.removesuffix("_patches")
    if snapped.moved:
        log.info("%s: %d of %d patches moved onto one lattice", slide_id, snapped.moved, len(snapped.grid))
    settings = {"collisions": cells.collisions, "converted_from": raw.format, "moved": snapped.moved}
    tiles = TileFile(
        coords=snapped.lattice.corners(grid),
        grid=grid.astype(np.int32),
        tissue=np.full(len(grid), np.nan, dtype=np.float32),
        geometry=_geometry(slide_id, facts, step, snapped.lattice),
        settings=json.dumps(settings, sort_keys=True),
    )
    features = None if raw.features is None else merge(raw.features, cells, on_collision)
    source = None
    if not cells.collisions:
        source = Source(raw.format, raw.coords, cells.group, raw.feature_path, raw.attributes, raw.others)
    return ForeignTable(tiles, features, facts.encoder, source)


def _as_it_was(path: Path, raw: RawTable) -> ForeignTable | None:
    """A file that was ours before it was converted remembers what the other format has no place for."""
    with h5py.File(path, "r") as file:
        if OURS_GROUP not in file:
            return None
        group = file[OURS_GROUP]
        tiles = read_tile_datasets(group, path)
        told = {name: str(group.attrs.get(name, "")) for name in ("encoder", "encoder_revision", "extraction")}
        dtype = group.attrs.get("feature_dtype")
    if len(tiles) != len(raw.coords):  # someone changed the file since: what it remembers is no longer true
        return None
    features = raw.features if raw.features is None or dtype is None else raw.features.astype(str(dtype))
    return ForeignTable(tiles, features, told["encoder"], None, told["encoder_revision"], told["extraction"])


def _geometry(slide_id: str, facts: Facts, step: int, lattice: Any) -> TileGeometry:
    size = _rounded(facts.patch_size_level0) or step
    reach = np.rint(facts.xy_level0.max(0)).astype(int) + size if len(facts.xy_level0) else (size, size)
    return TileGeometry(
        slide_id=slide_id,
        slide_mpp=facts.slide_mpp,
        mpp=facts.mpp,
        patch_px=facts.patch_px or size,
        patch_size_level0=size,
        overlap_px=facts.overlap_px,
        lattice=lattice,
        level0_size=facts.level0_size or (int(reach[0]), int(reach[1])),
    )


def _with_companion(facts: Facts, raw: RawTable, path: Path, slide_mpp: float | None) -> Facts:
    """CLAM's feature files say nothing of the patch size; its coordinates file ``../patches/<id>.h5`` does."""
    companion = path.parent.parent / "patches" / path.name
    if raw.format != "clam" or facts.patch_px is not None or not companion.is_file() or companion == path:
        return facts
    try:
        with h5py.File(companion, "r") as file:
            attributes = dict(file["coords"].attrs)
    except (OSError, KeyError):
        return facts
    if "patch_size" not in attributes:
        return facts
    told = facts_of(replace(raw, attributes={"coords": attributes}), slide_mpp)
    return replace(told, xy_level0=facts.xy_level0)


def _rounded(value: float | None) -> int | None:
    return None if value is None or math.isnan(value) else round(value)
