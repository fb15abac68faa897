"""`wsi2dmamba tile`: slides in, tile files, overlays and a summary out."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from wsi2dmamba.core.errors import InputError, SlideError, StoreError, WSI2DMambaError
from wsi2dmamba.core.files import make_folder, remove_partials
from wsi2dmamba.core.progress import track
from wsi2dmamba.core.workers import TaskOutcome, default_workers, run_tasks
from wsi2dmamba.slides.config import TileConfig
from wsi2dmamba.slides.find import find_slides
from wsi2dmamba.slides.layout import lay_out, stamp_of
from wsi2dmamba.slides.locks import held, holder_of
from wsi2dmamba.slides.overlay import overlay_picture, write_png
from wsi2dmamba.slides.reader import SlideReader, open_slide
from wsi2dmamba.slides.resolution import check_target, require_mpp
from wsi2dmamba.slides.summary import SlideRow, read_record, write_record, write_summary
from wsi2dmamba.slides.thumbnail import Thumbnail, read_thumbnail
from wsi2dmamba.slides.tilefile import SlideStamp, TileFile, read_tile_file, write_tile_file
from wsi2dmamba.slides.tissue import Tissue, find_tissue


@dataclass(frozen=True)
class TileTask:
    """One slide to tile.

    Attributes
    ----------
    slide_id, path
        Which slide.
    config
        How.
    """

    slide_id: str
    path: Path
    config: TileConfig

    @property
    def settings(self) -> str:
        """JSON of every setting that changes the patches."""
        names = ("mpp", "patch_px", "overlap_px", "min_tissue", "slide_mpp", "origin", "allow_upsampling")
        settings = {name: getattr(self.config, name) for name in names}
        return json.dumps(settings | {"tissue": self.config.tissue.model_dump()}, sort_keys=True)

    def output(self, folder: str, suffix: str) -> Path:
        """Return where a result of this slide goes."""
        return self.config.out / folder / f"{self.slide_id}{suffix}"


@dataclass(frozen=True)
class TileReport:
    """What a run did: one row per slide, sorted by id."""

    rows: tuple[SlideRow, ...]

    @property
    def failed(self) -> tuple[SlideRow, ...]:
        """The slides that could not be done."""
        return tuple(row for row in self.rows if row.status == "failed")


def tile_slides(config: TileConfig) -> TileReport:
    """Tile every slide that is not done yet.

    Returns
    -------
    TileReport
        Also written to ``out/tiles.csv``. A slide that fails is reported there and the others go on.

    Raises
    ------
    InputError
        If nothing can be done at all: no slides, two of one id, tiles made with other settings, no place to write.
    """
    slides = find_slides(config.slides)
    remove_partials(make_folder(config.out / "tiles"))
    tasks = [TileTask(slide_id, path, config) for slide_id, path in slides.items()]
    rows = {task.slide_id: row for task in tasks if (row := done_before(task)) is not None}
    todo = [task for task in tasks if task.slide_id not in rows]
    outcomes = run_tasks(tile_slide, todo, config.workers or default_workers())
    for outcome in track(outcomes, total=len(todo), label="tile"):
        row = row_of(outcome)
        rows[row.slide] = row
    ordered = tuple(rows[slide_id] for slide_id in slides)
    write_summary(config.out / "tiles.csv", ordered)
    return TileReport(ordered)


def tile_slide(task: TileTask) -> SlideRow:
    """Tile one slide and write its files, unless another run is at it.

    Raises
    ------
    WSI2DMambaError
        If the slide cannot be tiled.
    """
    lock = task.output("locks", ".lock")
    with held(lock) as mine:
        if not mine:
            message = f"{holder_of(lock) or 'another run'} is tiling it"
            return SlideRow(task.slide_id, str(task.path), "locked", message=message)
        return done_before(task) or _tile(task)


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
    elif record is not None and record[0].status == "no-tissue":
        settings, stamp = record[1], SlideStamp(**record[2])
    else:
        return None
    _refuse_other_settings(task, settings)
    if stamp != stamp_of(task.path):
        _refuse_namesake(task, stamp)
        return None
    if record is None or (tiles is None) != (record[0].status == "no-tissue"):
        return None
    return replace(record[0], skipped=True, seconds=0.0)


def row_of(outcome: TaskOutcome[TileTask, SlideRow]) -> SlideRow:
    """Return the summary line of an outcome."""
    if outcome.value is not None:
        return outcome.value
    text = " ".join(str(outcome.error).split())
    message = text if isinstance(outcome.error, WSI2DMambaError) else f"{type(outcome.error).__name__}: {text}"
    task = outcome.task
    return SlideRow(task.slide_id, str(task.path), "failed", seconds=outcome.seconds, message=message)


def _tile(task: TileTask) -> SlideRow:
    started = time.monotonic()
    config = task.config
    stamp = stamp_of(task.path)
    with open_slide(task.path, config.reader) as reader:
        slide_mpp = require_mpp(task.path, reader.mpp, config.slide_mpp)
        check_target(task.path, slide_mpp, config.mpp, config.allow_upsampling)
        thumbnail = read_thumbnail(reader, slide_mpp)
        if thumbnail.bad_blocks and config.on_bad_tile == "fail":
            raise SlideError(f"{task.path}: {thumbnail.bad_blocks} parts cannot be decoded; --on-bad-tile skip goes on")
        tissue = find_tissue(thumbnail.pixels, thumbnail.mpp, thumbnail.downsample, config.tissue)
        tiles = lay_out(
            task.slide_id, slide_mpp, reader.levels[0].size, tissue, config, stamp=stamp, settings=task.settings
        )
        row = _row(task, reader, slide_mpp, thumbnail, tissue, tiles)
    if stamp_of(task.path) != stamp:
        raise SlideError(f"{task.path} changed while it was read; run again when it is whole")
    # The tile file comes last but for the record: what is there when it is there is all there.
    write_png(task.output("overlays", ".png"), overlay_picture(thumbnail, tissue, tiles))
    if tiles is None:
        with suppress(FileNotFoundError):
            task.output("tiles", ".h5").unlink()
    else:
        write_tile_file(task.output("tiles", ".h5"), tiles)
    row = replace(row, seconds=time.monotonic() - started)
    write_record(task.output("records", ".json"), row, task.settings, asdict(stamp))
    return row


def _row(
    task: TileTask,
    reader: SlideReader,
    slide_mpp: float,
    thumbnail: Thumbnail,
    tissue: Tissue,
    tiles: TileFile | None,
) -> SlideRow:
    warnings = list(tissue.warnings)
    if thumbnail.bad_blocks:
        warnings.append(f"{thumbnail.bad_blocks} parts cannot be decoded and were taken for background")
    message = ""
    if tiles is None:
        message = (
            "no tissue found"
            if not tissue.mask.any()
            else f"no patch has {task.config.min_tissue:.0%} tissue; lower --min-tissue"
        )
    width, height = reader.levels[0].size
    rows, cols = tiles.geometry.lattice.shape if tiles is not None else (0, 0)
    return SlideRow(
        slide=task.slide_id,
        path=str(task.path),
        status="done" if tiles is not None else "no-tissue",
        patches=len(tiles) if tiles is not None else 0,
        rows=rows,
        cols=cols,
        mpp=slide_mpp,
        width=width,
        height=height,
        tissue_mm2=tissue.area_um2 / 1e6,
        reader=reader.backend,
        message=message,
        warnings=tuple(warnings),
    )


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


def statuses(rows: Sequence[SlideRow]) -> dict[str, int]:
    """Return how many slides ended how; those done before count as ``skipped``."""
    counts: dict[str, int] = {}
    for row in rows:
        name = "skipped" if row.skipped else row.status
        counts[name] = counts.get(name, 0) + 1
    return counts
