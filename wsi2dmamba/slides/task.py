"""One slide to tile: what it is made with, where its results go, and whether that was done before."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from wsi2dmamba.core.errors import InputError, StoreError
from wsi2dmamba.slides.config import TileConfig
from wsi2dmamba.slides.geojson import file_digest
from wsi2dmamba.slides.layout import stamp_of
from wsi2dmamba.slides.summary import SlideRow, read_record
from wsi2dmamba.slides.tilefile import SlideStamp, read_tile_file

_SETTINGS = ("mpp", "patch_px", "overlap_px", "min_tissue", "origin", "allow_upsampling")


@dataclass(frozen=True)
class TileTask:
    """One slide to tile.

    Attributes
    ----------
    slide_id, path
        Which slide.
    config
        How.
    slide_mpp
        Micrometres per level-0 pixel that the user gave for this slide, or None.
    """

    slide_id: str
    path: Path
    config: TileConfig
    slide_mpp: float | None = None

    @cached_property
    def settings(self) -> str:
        """JSON of everything that changes the patches."""
        settings = {name: getattr(self.config, name) for name in _SETTINGS}
        settings["slide_mpp"] = self.slide_mpp
        settings["tissue"] = self.config.tissue.model_dump()
        for name in ("tissue_regions", "roi"):
            settings[name] = file_digest(getattr(self.config, name), self.slide_id)
        return json.dumps(settings, sort_keys=True)

    def output(self, folder: str, suffix: str) -> Path:
        """Return where a result of this slide goes."""
        return self.config.out / folder / f"{self.slide_id}{suffix}"


def done_before(task: TileTask) -> SlideRow | None:
    """Return the row of a slide that needs no work: same settings, same file, finished.

    Raises
    ------
    InputError
        If it was tiled with other settings, or another slide of its name was, and `overwrite` is off.
    """
    if task.config.overwrite:
        return None
    record = read_record(task.output("records", ".json"))
    tile_path = task.output("tiles", ".h5")
    try:
        tiles = read_tile_file(tile_path) if tile_path.exists() else None
    except StoreError:
        return None
    if tiles is not None:
        settings, stamp = tiles.settings, tiles.stamp
    elif record is not None and record.row.status == "no-tissue":
        settings, stamp = record.settings, SlideStamp(**record.stamp)
    else:
        return None
    _refuse_other_settings(task, settings)
    if stamp != stamp_of(task.path):
        _refuse_namesake(task, stamp)
        return None
    if record is None or (tiles is None) != (record.row.status == "no-tissue"):
        return None
    return replace(record.row, skipped=True)


def _refuse_other_settings(task: TileTask, made_with: str) -> None:
    wanted = json.loads(task.settings)
    try:
        have = json.loads(made_with)
    except ValueError:
        have = {}
    different = [f"{name} {have.get(name)} (now {wanted[name]})" for name in wanted if have.get(name) != wanted[name]]
    if different:
        raise InputError(
            f"{task.config.out} holds tiles of {task.slide_id} made with {', '.join(different)}; "
            "give --overwrite or another --out"
        )


def _refuse_namesake(task: TileTask, stamp: SlideStamp | None) -> None:
    if stamp is None:
        return
    other = Path(stamp.path)
    if other != task.path.absolute() and other.exists() and not other.samefile(task.path):
        raise InputError(
            f"{task.config.out} holds tiles of another slide called {task.slide_id}, {other}; "
            "give --overwrite or another --out"
        )
