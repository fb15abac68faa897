"""Which slides there are to encode, where their features go, and which are done already."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from wsi2dmamba.core.errors import InputError, SlideError, StoreError
from wsi2dmamba.features.encoders.base import EncoderInfo
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
        Folder to look for the slide in; None: where it was when tiled.
    """

    slide_id: str
    tile_path: Path
    feature_path: Path
    slides: Path | None = None


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
    status = path.stat()
    moved = stamp is not None and str(path) != stamp.path
    if stamp is None or path.is_dir():
        return path
    same = status.st_size == stamp.size_bytes and (moved or status.st_mtime_ns == stamp.modified_ns)
    if not same:
        raise SlideError(f"{path} was replaced since it was tiled; run `wsi2dmamba tile --overwrite` on it again")
    return path


def _find_slide(job: SlideJob, tiles: TileFile) -> Path:
    stamp = tiles.stamp
    if job.slides is None:
        if stamp is None:
            raise SlideError(f"{job.tile_path} does not say where its slide is; give --slides DIR")
        path = Path(stamp.path)
        if not path.exists():
            raise SlideError(f"{path} is not there any more; give --slides DIR if the slides were moved")
        return path
    if stamp is not None and (job.slides / Path(stamp.path).name).exists():
        return (job.slides / Path(stamp.path).name).absolute()
    found = sorted(path for path in job.slides.rglob("*") if path.stem == job.slide_id or path.name == job.slide_id)
    if len(found) != 1:
        how_many = "no slide" if not found else f"{len(found)} slides"
        raise SlideError(f"{how_many} called {job.slide_id} in {job.slides}")
    return found[0].absolute()


def is_done(job: SlideJob, wanted: Extraction) -> bool:
    """Tell whether a job's features exist and were made from the same patches in the same way.

    A file that was cut short counts as absent.

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
    return True


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
    if have.geometry != tiles.geometry or have.settings != tiles.settings:
        return "other tile settings than the tile file has now"
    if have.stamp != tiles.stamp:
        return "another version of the slide"
    # Unreadable patches are left out of the features, so those are a part of the tiles.
    if not np.isin(_keys(have), _keys(tiles)).all():
        return "other patches than the tile file has now"
    return ""


def _keys(tiles: TileFile) -> np.ndarray:
    return tiles.grid[:, 0].astype(np.int64) << 32 | tiles.grid[:, 1].astype(np.int64)
