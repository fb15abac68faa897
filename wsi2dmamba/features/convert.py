"""`wsi2dmamba convert`: patches and features between our files and those of CLAM, TRIDENT, STAMP and AtlasPatch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.core.errors import InputError
from wsi2dmamba.core.files import atomic_path
from wsi2dmamba.core.hdf5 import new_hdf5
from wsi2dmamba.features.foreign.formats import FORMATS
from wsi2dmamba.features.foreign.reading import ForeignTable, read_foreign
from wsi2dmamba.features.foreign.source import read_source, write_source
from wsi2dmamba.features.foreign.writing import write_foreign
from wsi2dmamba.features.store import FeatureFile, is_foreign, write_features
from wsi2dmamba.slides.tilefile import mark_complete, open_finished, read_tile_datasets, write_tile_datasets


@dataclass(frozen=True)
class ConvertOptions:
    """How to convert.

    Attributes
    ----------
    to
        One of `foreign.FORMATS`.
    on_collision
        ``error``, ``mean`` or ``first``.
    slide_mpp
        µm per level-0 pixel, where the file does not say it.
    encoder
        Which features of an AtlasPatch file that holds several.
    """

    to: str
    on_collision: str = "error"
    slide_mpp: float | None = None
    encoder: str | None = None

    def __post_init__(self) -> None:
        if self.to not in FORMATS:
            raise InputError(f"unknown format {self.to!r}; choose from {', '.join(FORMATS)}")


def files_to_convert(source: Path) -> list[Path]:
    """Return `source` itself, or the ``.h5`` files in it (for CLAM's folder, those in ``h5_files``).

    Raises
    ------
    InputError
        If there are none.
    """
    if source.is_file():
        return [source]
    for folder in (source, source / "h5_files", source / "patches", source / "tiles"):
        found = sorted(path for path in folder.glob("*.h5") if not path.name.startswith("."))
        if found:
            return found
    raise InputError(f"{source} is neither a .h5 file nor a folder that holds some")


def target_path(out: Path, kind: str, table: ForeignTable) -> Path:
    """Return where a tool looks for the file of a slide, below `out`."""
    name, has_features = table.tiles.geometry.slide_id, table.features is not None
    places = {
        "wsi2dmamba": f"{table.encoder}/{name}.h5" if has_features else f"tiles/{name}.h5",
        "clam": f"h5_files/{name}.h5" if has_features else f"patches/{name}.h5",
        "trident": f"features_{table.encoder}/{name}.h5" if has_features else f"patches/{name}_patches.h5",
        "stamp": f"{table.encoder}/{name}.h5",
        "atlaspatch": f"patches/{name}.h5",
    }
    return out / places[kind]


def convert_file(path: Path, out: Path, options: ConvertOptions) -> Path:
    """Convert one file and return where it went.

    Raises
    ------
    StoreError, LatticeError
        If it cannot be read, or the target format cannot hold it.
    """
    table = read_any(path, options)
    target = target_path(out, options.to, table)
    if options.to == "wsi2dmamba":
        _write_ours(target, table)
        return target
    write_foreign(
        target,
        options.to,
        table.tiles,
        table.features,
        table.encoder,
        table.revision,
        table.extraction,
        table.source,
    )
    if options.to == "clam" and table.features is not None:
        _write_clam_tensor(out / "pt_files" / f"{target.stem}.pt", _in_file_order(table))
    return target


def read_any(path: Path, options: ConvertOptions) -> ForeignTable:
    """Read our file or another tool's, with or without features."""
    if is_foreign(path):
        return read_foreign(path, options.on_collision, options.slide_mpp, options.encoder)
    with open_finished(path) as file:
        tiles, source = read_tile_datasets(file, path), read_source(file)
        features = file["features"][:] if "features" in file else None
        told = {name: str(file.attrs.get(name, "")) for name in ("encoder", "encoder_revision", "extraction")}
    if options.slide_mpp is not None and np.isnan(tiles.geometry.slide_mpp):
        scale = tiles.geometry.patch_size_level0 / tiles.geometry.patch_px
        geometry = replace(tiles.geometry, slide_mpp=options.slide_mpp, mpp=options.slide_mpp * scale)
        tiles = replace(tiles, geometry=geometry)
    return ForeignTable(
        tiles, features, told["encoder"] or "unknown", source, told["encoder_revision"], told["extraction"] or "{}"
    )


def _write_ours(path: Path, table: ForeignTable) -> None:
    if table.features is not None:
        file = FeatureFile(table.features, table.tiles, table.encoder, table.revision, table.extraction, table.source)
        write_features(path, file)
        return
    with new_hdf5(path) as tile_file:
        write_tile_datasets(tile_file, table.tiles)
        if table.source is not None:
            write_source(tile_file, table.source)
        mark_complete(tile_file)


def _in_file_order(table: ForeignTable) -> NDArray[np.floating]:
    features = table.features
    if features is None:
        return np.empty((0, 0), dtype=np.float32)
    restored = table.source is not None and table.source.format == "clam"
    return features[table.source.row] if restored and table.source is not None else features


def _write_clam_tensor(path: Path, features: NDArray[np.floating]) -> None:
    import torch

    with atomic_path(path) as partial:
        torch.save(torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32)), partial)
