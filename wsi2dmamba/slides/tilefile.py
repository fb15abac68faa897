"""The tile file `tiles/<slide_id>.h5`: where the patches of a slide lie.

Layout ("wsi2dmamba/1", docs/formats.md): datasets `coords`, `grid`, `tissue`; `coords` carries TRIDENT's
attributes, so that TRIDENT, Patho-Bench and CLAM's training code read the files as they are.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from wsi2dmamba import __version__
from wsi2dmamba.core.errors import StoreError
from wsi2dmamba.core.hdf5 import new_hdf5
from wsi2dmamba.slides.lattice import Lattice

SCHEMA = "wsi2dmamba/1"


@dataclass(frozen=True)
class TileGeometry:
    """How the patches of one slide were laid out.

    Attributes
    ----------
    slide_id
        File stem of the slide.
    slide_mpp, mpp
        Micrometres per pixel of level 0 and of the patches.
    patch_px
        Patch side in pixels at `mpp`, as the encoder sees it.
    patch_size_level0
        Patch side in level-0 pixels.
    overlap_px
        Overlap of neighbouring patches in pixels at `mpp`.
    lattice
        Origin, step and grid shape, in level-0 pixels.
    level0_size
        (width, height) of the slide, level-0 pixels.
    """

    slide_id: str
    slide_mpp: float
    mpp: float
    patch_px: int
    patch_size_level0: int
    overlap_px: int
    lattice: Lattice
    level0_size: tuple[int, int]


@dataclass(frozen=True)
class SlideStamp:
    """Which slide file the patches were found in: a file replaced later is noticed.

    Attributes
    ----------
    path
        Absolute path of the slide when it was tiled.
    size_bytes, modified_ns
        Size and modification time then.
    """

    path: str
    size_bytes: int
    modified_ns: int


@dataclass(frozen=True)
class TileFile:
    """The patches of one slide.

    Attributes
    ----------
    coords
        (N, 2) int64, (x, y) of the top-left corners, level-0 pixels, row-major lattice order.
    grid
        (N, 2) int32, (row, col) on the lattice.
    tissue
        (N,) float32, tissue fraction of each patch.
    geometry
        How they were laid out.
    stamp
        The slide file they were found in; None for files of other tools.
    settings
        JSON of the settings that made the file: a rerun with others is noticed.
    """

    coords: NDArray[np.int64]
    grid: NDArray[np.int32]
    tissue: NDArray[np.float32]
    geometry: TileGeometry
    stamp: SlideStamp | None = None
    settings: str = "{}"

    def __len__(self) -> int:
        return len(self.coords)


def write_tile_file(path: Path, tiles: TileFile) -> None:
    """Write `tiles` to `path`, whole or not at all."""
    with new_hdf5(path) as file:
        write_tile_datasets(file, tiles)
        mark_complete(file)


def read_tile_file(path: Path) -> TileFile:
    """Read a finished tile (or feature) file's patches.

    Raises
    ------
    StoreError
        If the file is missing, truncated, unfinished or of another schema.
    """
    with open_finished(path) as file:
        return read_tile_datasets(file, path)


def write_tile_datasets(file: h5py.File, tiles: TileFile) -> None:
    """Write the datasets and attributes that tile and feature files share."""
    rows = max(len(tiles), 1)
    coords = file.create_dataset(
        "coords", data=tiles.coords.astype(np.int64), chunks=(min(rows, 4096), 2), maxshape=(None, 2)
    )
    file.create_dataset("grid", data=tiles.grid.astype(np.int32))
    file.create_dataset("tissue", data=tiles.tissue.astype(np.float32))
    coords.flush()  # places its chunks now: left to HDF5, their address depends on when the dataset is closed
    coords.attrs.update(trident_attributes(tiles.geometry))
    geometry = tiles.geometry
    file.attrs.update(
        schema=SCHEMA,
        created_by=f"wsi2dmamba {__version__}",
        slide_id=geometry.slide_id,
        slide_mpp=geometry.slide_mpp,
        mpp=geometry.mpp,
        step_level0=geometry.lattice.step_level0,
        origin=np.asarray(geometry.lattice.origin, dtype=np.int64),
        grid_shape=np.asarray(geometry.lattice.shape, dtype=np.int64),
        settings=tiles.settings,
    )
    if tiles.stamp is not None:
        file.attrs.update({f"slide_{name}": value for name, value in asdict(tiles.stamp).items()})


def trident_attributes(geometry: TileGeometry) -> dict[str, Any]:
    """Return what TRIDENT writes on `coords`. Magnifications follow 10 / mpp: 20x is 0.5 µm/px."""
    return {
        "patch_size": geometry.patch_px,
        "patch_size_level0": geometry.patch_size_level0,
        "level0_magnification": 10.0 / geometry.slide_mpp,
        "target_magnification": 10.0 / geometry.mpp,
        "overlap": geometry.overlap_px,
        "name": geometry.slide_id,
        "level0_width": geometry.level0_size[0],
        "level0_height": geometry.level0_size[1],
    }


def read_tile_datasets(file: h5py.File, path: Path) -> TileFile:
    """Read the part that tile and feature files share from an open file.

    Raises
    ------
    StoreError
        If a dataset or attribute is missing, or the datasets disagree in length.
    """
    try:
        coords, grid, tissue = file["coords"], file["grid"], file["tissue"]
        tiles = TileFile(
            coords=coords[:].astype(np.int64),
            grid=grid[:].astype(np.int32),
            tissue=tissue[:].astype(np.float32),
            geometry=_read_geometry(file, coords),
            stamp=_read_stamp(file),
            settings=str(file.attrs.get("settings", "{}")),
        )
    except (KeyError, OSError) as error:
        raise StoreError(f"{path}: {_plain(error)}; delete the file and make it again") from error
    if not len(tiles.coords) == len(tiles.grid) == len(tiles.tissue):
        raise StoreError(f"{path}: coords, grid and tissue differ in length; delete the file and make it again")
    return tiles


def open_finished(path: Path) -> h5py.File:
    """Open a file of this schema for reading.

    Raises
    ------
    StoreError
        If it is missing, not HDF5, cut short, of another schema, or was never finished.
    """
    if not path.is_file():
        raise StoreError(f"{path} does not exist")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise StoreError(
            f"{path} is not a whole HDF5 file (cut short or damaged); delete it and make it again"
        ) from error
    schema = file.attrs.get("schema")
    if schema != SCHEMA or not bool(file.attrs.get("complete", False)):
        file.close()
        if schema != SCHEMA:
            raise StoreError(f"{path} has schema {schema!r}, not {SCHEMA!r}; convert it with `wsi2dmamba convert`")
        raise StoreError(f"{path} was never finished; delete it and make it again")
    return file


def mark_complete(file: h5py.File) -> None:
    """Set the last attribute: only a file that carries it is ever read as finished."""
    file.attrs["complete"] = True


def _read_geometry(file: h5py.File, coords: h5py.Dataset) -> TileGeometry:
    lattice = Lattice(
        origin=(int(file.attrs["origin"][0]), int(file.attrs["origin"][1])),
        step_level0=int(file.attrs["step_level0"]),
        shape=(int(file.attrs["grid_shape"][0]), int(file.attrs["grid_shape"][1])),
    )
    return TileGeometry(
        slide_id=str(file.attrs["slide_id"]),
        slide_mpp=float(file.attrs["slide_mpp"]),
        mpp=float(file.attrs["mpp"]),
        patch_px=int(coords.attrs["patch_size"]),
        patch_size_level0=int(coords.attrs["patch_size_level0"]),
        overlap_px=int(coords.attrs["overlap"]),
        lattice=lattice,
        level0_size=(int(coords.attrs["level0_width"]), int(coords.attrs["level0_height"])),
    )


def _read_stamp(file: h5py.File) -> SlideStamp | None:
    names = {field.name: f"slide_{field.name}" for field in fields(SlideStamp)}
    if not all(attribute in file.attrs for attribute in names.values()):
        return None
    return SlideStamp(
        path=str(file.attrs[names["path"]]),
        size_bytes=int(file.attrs[names["size_bytes"]]),
        modified_ns=int(file.attrs[names["modified_ns"]]),
    )


def _plain(error: BaseException) -> str:
    return " ".join(str(error).strip("'\"").split())
