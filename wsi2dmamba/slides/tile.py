"""`wsi2dmamba tile`: slides in; tile files, pictures and a summary out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

import numpy as np

from wsi2dmamba.core.errors import InputError, SlideError, WSI2DMambaError
from wsi2dmamba.core.executors import make_executor
from wsi2dmamba.core.files import make_folder, remove_partials
from wsi2dmamba.core.manifest import write_manifest
from wsi2dmamba.core.progress import track
from wsi2dmamba.core.workers import TaskOutcome, default_workers
from wsi2dmamba.slides.config import TileConfig
from wsi2dmamba.slides.contact_sheet import write_contact_sheet
from wsi2dmamba.slides.find import find_slides
from wsi2dmamba.slides.geojson import rasterised, read_regions, region_file, regions_of_mask, write_regions
from wsi2dmamba.slides.layout import lay_out, stamp_of
from wsi2dmamba.slides.locks import held, holder_of
from wsi2dmamba.slides.mpp_table import read_mpp_table
from wsi2dmamba.slides.overlay import overlay_picture, preview, shrunk, write_png
from wsi2dmamba.slides.reader import SlideReader, open_slide
from wsi2dmamba.slides.resolution import check_target, require_mpp
from wsi2dmamba.slides.summary import SlideRecord, SlideRow, read_record, write_record, write_summary
from wsi2dmamba.slides.task import TileTask, done_before
from wsi2dmamba.slides.thumbnail import Thumbnail, read_thumbnail
from wsi2dmamba.slides.tilefile import TileFile, write_tile_file
from wsi2dmamba.slides.tissue import Tissue, find_tissue


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
        Also written to ``out/tiles.csv`` and ``out/tiles.html``. A slide that fails is reported there and the
        others go on.

    Raises
    ------
    InputError
        If nothing can be done at all: no slides, two of one id, tiles made with other settings, no place to write.
    """
    config = config if config.dask is None else _with_absolute_paths(config)
    tasks = tile_tasks(config)
    rows = {task.slide_id: row for task in tasks if (row := done_before(task)) is not None}
    make_folder(config.out / "tiles")
    for folder in (config.out, *config.out.iterdir()):
        remove_partials(folder)
    todo = [task for task in tasks if task.slide_id not in rows]
    try:
        with make_executor(config.dask, config.workers or default_workers()) as executor:
            for outcome in track(executor.run(tile_slide, todo), total=len(todo), label="tile"):
                row = row_of(outcome)
                rows[row.slide] = row
    finally:  # interrupted or not: what is known so far stands in the summary
        ordered = tuple(rows[task.slide_id] for task in tasks if task.slide_id in rows)
        write_results(config, tasks, ordered)
    return TileReport(ordered)


def _with_absolute_paths(config: TileConfig) -> TileConfig:
    """Workers of a cluster have working folders of their own."""
    paths = {name: path.absolute() for name in ("out", "tissue_regions", "roi") if (path := getattr(config, name))}
    return config.model_copy(update=paths | {"slides": tuple(path.absolute() for path in config.slides)})


def tile_tasks(config: TileConfig) -> list[TileTask]:
    """Return the slides that a configuration means, sorted by id.

    Raises
    ------
    InputError
        If there are none, two share an id, or a table or region file cannot be used.
    """
    slides = find_slides(config.slides)
    for regions in (config.tissue_regions, config.roi):
        if regions is not None and not regions.exists():
            raise InputError(f"the regions {regions} do not exist")
        if regions is not None and regions.is_file() and len(slides) > 1:
            raise InputError(f"{regions} is one file for {len(slides)} slides; give a folder with one file per slide")
    mpps: dict[str, float] = {}
    if config.slide_mpp_csv is not None:
        mpps = read_mpp_table(config.slide_mpp_csv, config.slide_mpp_column)
    return [TileTask(slide_id, path, config, mpps.get(slide_id, config.slide_mpp)) for slide_id, path in slides.items()]


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


def row_of(outcome: TaskOutcome[TileTask, SlideRow]) -> SlideRow:
    """Return the summary line of an outcome."""
    if outcome.value is not None:
        return outcome.value
    text = " ".join(str(outcome.error).split())
    message = text if isinstance(outcome.error, WSI2DMambaError) else f"{type(outcome.error).__name__}: {text}"
    task = outcome.task
    return SlideRow(task.slide_id, str(task.path), "failed", seconds=outcome.seconds, message=message)


def write_results(config: TileConfig, tasks: Sequence[TileTask], rows: tuple[SlideRow, ...]) -> None:
    """Write what stands over all slides: `tiles.csv`, `tiles.html`, `manifest.json`.

    Raises
    ------
    InputError
        If the disk is full or refuses.
    """
    previews = {}
    for task in tasks:
        record = read_record(task.output("records", ".json"))
        if record is not None:
            previews[task.slide_id] = record.preview
    shown = {row.slide: previews.get(row.slide, "") for row in rows if row.status in ("done", "no-tissue")}
    try:
        write_summary(config.out / "tiles.csv", rows)
        write_contact_sheet(config.out / "tiles.html", rows, shown)
        parameters = config.model_dump(mode="json")
        write_manifest(config.out / "manifest.json", "tile", parameters, {"slides": statuses(rows)})
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot write the summary to {config.out}: {reason}; make room and run again") from error


def statuses(rows: Sequence[SlideRow]) -> dict[str, int]:
    """Return how many slides ended how; those done before count as ``skipped``."""
    counts: dict[str, int] = {}
    for row in rows:
        name = "skipped" if row.skipped else row.status
        counts[name] = counts.get(name, 0) + 1
    return counts


def _tile(task: TileTask) -> SlideRow:
    started = time.monotonic()
    config = task.config
    stamp = stamp_of(task.path)
    with open_slide(task.path, config.reader) as reader:
        slide_mpp = require_mpp(task.path, reader.mpp, task.slide_mpp)
        check_target(task.path, slide_mpp, config.mpp, config.allow_upsampling)
        thumbnail = read_thumbnail(reader, slide_mpp, config.tissue.coarsest_um)
        if thumbnail.bad_blocks and config.on_bad_tile == "fail":
            raise SlideError(f"{task.path}: {thumbnail.bad_blocks} parts cannot be decoded; --on-bad-tile skip goes on")
        size = reader.levels[0].size
        tissue = _tissue_of(task, thumbnail)
        tiles = lay_out(task.slide_id, slide_mpp, size, tissue, config, stamp=stamp, settings=task.settings)
        row = _row(task, reader, slide_mpp, thumbnail, tissue, tiles)
    if stamp_of(task.path) != stamp:
        raise SlideError(f"{task.path} changed while it was read; run again when it is whole")
    overlay = overlay_picture(thumbnail, tissue, tiles)
    write_png(task.output("overlays", ".png"), overlay)
    write_png(task.output("thumbnails", ".png"), shrunk(thumbnail.pixels))
    write_png(task.output("masks", ".png"), tissue.mask.astype(np.uint8) * 255)
    write_regions(task.output("tissue", ".geojson"), regions_of_mask(tissue.mask, tissue.downsample))
    # The tile file comes last but for the record: when it is there, the pictures of it are there.
    if tiles is None:
        with suppress(FileNotFoundError):
            task.output("tiles", ".h5").unlink()
    else:
        write_tile_file(task.output("tiles", ".h5"), tiles)
    row = replace(row, seconds=time.monotonic() - started)
    record = SlideRecord(row, task.settings, asdict(stamp), preview(overlay))
    write_record(task.output("records", ".json"), record)
    return row


def _tissue_of(task: TileTask, thumbnail: Thumbnail) -> Tissue:
    config = task.config
    shape = (thumbnail.pixels.shape[0], thumbnail.pixels.shape[1])
    if config.tissue_regions is None:
        tissue = find_tissue(thumbnail.pixels, thumbnail.mpp, thumbnail.downsample, config.tissue)
    else:
        regions = read_regions(region_file(config.tissue_regions, task.slide_id))
        mask = rasterised(regions, shape, thumbnail.downsample)
        if not mask.any():
            raise SlideError(f"{task.path}: the tissue of {config.tissue_regions} lies outside the slide")
        tissue = Tissue(mask, np.zeros(shape, dtype=bool), thumbnail.downsample, thumbnail.mpp)
    if config.roi is None:
        return tissue
    inside = rasterised(read_regions(region_file(config.roi, task.slide_id)), shape, thumbnail.downsample)
    if not inside.any():
        raise SlideError(f"{task.path}: the regions of {config.roi} lie outside the slide")
    return replace(tissue, mask=tissue.mask & inside, excluded=tissue.excluded & inside)


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
    if tiles is None and not tissue.mask.any():
        message = "no tissue found"
    elif tiles is None:
        message = f"no patch has {task.config.min_tissue:.0%} tissue; lower --min-tissue"
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
