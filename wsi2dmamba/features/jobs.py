"""Which slides there are to encode, where their features go, and which are done already."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np

from wsi2dmamba.core.errors import InputError, SlideError, StoreError
from wsi2dmamba.features.encoders.base import EncoderInfo
from wsi2dmamba.slides.layout import stamp_of
from wsi2dmamba.slides.reader import Backend
from wsi2dmamba.slides.tilefile import TileFile, open_finished, read_tile_datasets, read_tile_file


@dataclass(frozen=True)
class SlideJob:
    """One slide to encode.

    Attributes
    ----------
    slide_id
        Stem of the tile file.
    tile_path, feature_path
        From where to where.
    slides
        Folder that slides were looked for in; None: each is where it was when tiled.
    found
        The slide in that folder; None: there is none of this id.
    reader
        Slide reader to insist on, or ``auto``.
    """

    slide_id: str
    tile_path: Path
    feature_path: Path
    slides: Path | None = None
    found: Path | None = None
    reader: Backend = "auto"

    @property
    def lock_path(self) -> Path:
        """Lock file that a run holds while it makes these features."""
        return self.feature_path.parent / "locks" / f"{self.slide_id}.lock"


class SlideLockedError(SlideError):
    """A slide that another run is working on."""


@dataclass(frozen=True)
class Extraction:
    """What a feature file must have been made with to count as done.

    Attributes
    ----------
    encoder, revision
        Name and exact weights.
    settings
        JSON of everything else that changes the numbers.
    """

    encoder: str
    revision: str
    settings: str


def extraction_of(info: EncoderInfo, precision: str, pooling: str | None) -> Extraction:
    """Return the identity of the features that this encoder makes with these settings."""
    settings = {"patch_px": info.patch_px, "pooling": pooling, "precision": precision}
    return Extraction(info.name, info.revision, json.dumps(settings, sort_keys=True))


def tile_files(folder: Path) -> list[Path]:
    """Return the tile files of a folder that `wsi2dmamba tile --out` wrote, or of its ``tiles`` folder.

    Raises
    ------
    InputError
        If there is no such folder, or no tile file in it.
    """
    if not folder.is_dir():
        raise InputError(f"the tiles folder {folder} does not exist; run `wsi2dmamba tile SLIDES --out {folder}` first")
    for place in (folder / "tiles", folder):
        found = sorted(path for path in place.glob("*.h5") if not path.name.startswith("."))
        if found:
            return found
    raise InputError(f"{folder} holds no tile files (*.h5); run `wsi2dmamba tile SLIDES --out {folder}` first")


def slide_of(job: SlideJob, tiles: TileFile) -> Path:
    """Return the slide file of a job, making sure that it is the one that was tiled.

    Raises
    ------
    SlideError
        If it is not found, or was replaced since.
    """
    stamp = tiles.stamp
    path = _find_slide(job, tiles)
    if stamp is None:
        return path
    now = stamp_of(path)
    moved = now.path != stamp.path  # a copy need not keep the time
    if now.size_bytes != stamp.size_bytes or not (moved or now.modified_ns == stamp.modified_ns):
        raise SlideError(f"{path} was replaced since it was tiled; run `wsi2dmamba tile` on it again")
    return path


def _find_slide(job: SlideJob, tiles: TileFile) -> Path:
    stamp = tiles.stamp
    if job.slides is not None:
        if job.found is None:
            raise SlideError(f"no slide called {job.slide_id} in {job.slides}")
        return job.found
    if stamp is None:
        raise SlideError(f"{job.tile_path} does not say where its slide is; give --slides DIR")
    path = Path(stamp.path)
    if not path.exists():
        raise SlideError(f"{path} is not there any more; give --slides DIR if the slides were moved")
    return path


def is_done(job: SlideJob, wanted: Extraction) -> bool:
    """Tell whether a job's features exist and were made from the same patches in the same way.

    A file that was cut short counts as absent, and so does one of a slide that was tiled anew since.

    Raises
    ------
    InputError
        If they exist but were made otherwise; the message says how.
    """
    if not job.feature_path.exists():
        return False
    try:
        with open_finished(job.feature_path) as file:
            have, made = read_tile_datasets(file, job.feature_path), made_with(file)
            rows = len(file["features"]) if "features" in file else -1
    except StoreError:
        return False
    if rows != len(have):
        return False
    tiles = read_tile_file(job.tile_path)
    difference = _difference(made, wanted) or _tile_difference(have, tiles)
    if difference:
        raise InputError(f"{job.feature_path} was made with {difference}; give --overwrite or another --out")
    # Unreadable patches are left out of the features, so those are a part of the tiles.
    return have.stamp == tiles.stamp and bool(np.isin(_keys(have), _keys(tiles)).all())


def made_with(file: h5py.File) -> Extraction:
    """Return what an open feature file says it was made with."""
    text = {key: str(file.attrs.get(key, "")) for key in ("encoder", "encoder_revision", "extraction")}
    return Extraction(text["encoder"], text["encoder_revision"], text["extraction"])


def _difference(made: Extraction, wanted: Extraction) -> str:
    for label, old, new in (
        ("encoder", made.encoder, wanted.encoder),
        ("encoder revision", made.revision, wanted.revision),
        ("settings", made.settings, wanted.settings),
    ):
        if old != new:
            return f"{label} {old or 'unknown'}, not {new}"
    return ""


def _tile_difference(have: TileFile, tiles: TileFile) -> str:
    same_layout = replace(have.geometry, lattice=tiles.geometry.lattice, level0_size=tiles.geometry.level0_size)
    if same_layout != tiles.geometry or have.settings != tiles.settings:
        return "other tile settings than the tile file has now"
    return ""


def _keys(tiles: TileFile) -> np.ndarray:
    return tiles.grid[:, 0].astype(np.int64) << 32 | tiles.grid[:, 1].astype(np.int64)
