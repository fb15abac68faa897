"""`wsi2dmamba tile`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from wsi2dmamba.cli import app


@app.command()
def tile(
    slides: list[Path] = typer.Argument(..., help="Slide files, or folders that are searched for slides."),
    out: Path = typer.Option(
        ..., help="Results: OUT/tiles/<slide>.h5; overlays, thumbnails, masks, tissue (GeoJSON); tiles.csv, tiles.html."
    ),
    mpp: float | None = typer.Option(None, help="µm per pixel of the patches; 0.5 unless told otherwise."),
    magnification: float | None = typer.Option(
        None, help="Another way to say --mpp: 20 is 0.5 µm/px, 40 is 0.25 µm/px."
    ),
    patch_px: int = typer.Option(256, help="Patch side in pixels at that resolution."),
    overlap_px: int = typer.Option(0, help="Overlap of neighbouring patches in those pixels."),
    min_tissue: float = typer.Option(0.1, help="Least fraction of a patch that must be tissue, 0 to 1."),
    slide_mpp: str | None = typer.Option(
        None,
        help="µm per level-0 pixel, for slides that do not say it or say it wrong: a number, or FILE.csv:COLUMN "
        "(rows found by its slide_id or slide column; COLUMN is mpp unless named).",
    ),
    preset: str | None = typer.Option(
        None, help="Sizes of tissue and holes for a kind of specimen: biopsy, resection or tma."
    ),
    tissue: Path | None = typer.Option(
        None, help="GeoJSON of the tissue (level-0 pixels, as QuPath exports), or a folder of <slide>.geojson."
    ),
    roi: Path | None = typer.Option(
        None, help="GeoJSON of regions, or a folder of <slide>.geojson: only tissue inside them counts."
    ),
    tissue_method: str = typer.Option("auto", help="auto, hsv (saturation), otsu (darkness) or entropy (disorder)."),
    min_area_um2: float | None = typer.Option(None, help="Drop smaller pieces of tissue, µm² (10000)."),
    max_hole_um2: float | None = typer.Option(None, help="Fill smaller holes in tissue, µm² (10000)."),
    origin: str = typer.Option("0,0", help="X,Y: a corner of the lattice, level-0 pixels."),
    reader: str = typer.Option(
        "auto", help="auto (the fast native path where it fits), native, openslide, tifffile or image."
    ),
    allow_upsampling: bool = typer.Option(False, "--allow-upsampling", help="Accept --mpp finer than the slide's."),
    on_bad_tile: str = typer.Option("skip", help="Undecodable parts: skip (background, counted) or fail the slide."),
    workers: int | None = typer.Option(None, help="Processes; default: one per processor."),
    keep_artefacts: bool = typer.Option(
        False, "--keep-artefacts", help="Do not keep ink, black borders and haze out of the tissue."
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Make tiles again, also with other settings."),
    dask: str | None = typer.Option(
        None, help="Dask scheduler (tcp://host:8786) or YAML of a cluster (docs/clusters.md): one task per slide."
    ),
) -> None:
    """Find the tissue of every slide and lay one lattice of patches over it.

    Finished slides are skipped, so the same command goes on where it stopped. A slide that fails is reported (also in
    OUT/tiles.csv), the others go on, and the exit code is 1. OUT/tiles.html shows every slide, suspicious ones first.

    Example: wsi2dmamba tile slides/ --out run --mpp 0.5 --patch-px 256 --preset biopsy
    """
    from pydantic import ValidationError

    from wsi2dmamba.core.errors import InputError
    from wsi2dmamba.core.validation import one_line
    from wsi2dmamba.slides.config import TISSUE_PRESETS, TileConfig, TissueConfig
    from wsi2dmamba.slides.mpp_table import parse_slide_mpp
    from wsi2dmamba.slides.tile import statuses, tile_slides

    if mpp is not None and magnification is not None:
        raise InputError("--mpp and --magnification say the same thing; give one of them")
    if magnification is not None and magnification <= 0:
        raise InputError(f"--magnification must be positive, not {magnification:g}")
    target = mpp if mpp is not None else 10.0 / magnification if magnification is not None else 0.5
    if preset is not None and preset not in TISSUE_PRESETS:
        raise InputError(f"--preset must be one of {', '.join(TISSUE_PRESETS)}, not {preset!r}")
    sizes: dict[str, Any] = dict(TISSUE_PRESETS.get(preset or "", {}))
    given = {"min_area_um2": min_area_um2, "max_hole_um2": max_hole_um2}
    sizes |= {name: value for name, value in given.items() if value is not None}
    one_mpp, mpp_csv, mpp_column = parse_slide_mpp(slide_mpp)
    try:
        finding = TissueConfig(method=tissue_method, exclude_artefacts=not keep_artefacts, **sizes)  # type: ignore[arg-type]
        config = TileConfig(
            slides=tuple(slides),
            out=out,
            mpp=target,
            patch_px=patch_px,
            overlap_px=overlap_px,
            min_tissue=min_tissue,
            slide_mpp=one_mpp,
            slide_mpp_csv=mpp_csv,
            slide_mpp_column=mpp_column,
            origin=_pair(origin),
            tissue=finding,
            tissue_regions=tissue,
            roi=roi,
            reader=reader,  # type: ignore[arg-type]
            allow_upsampling=allow_upsampling,
            on_bad_tile=on_bad_tile,  # type: ignore[arg-type]
            workers=workers,
            overwrite=overwrite,
            dask=dask,
        )
    except ValidationError as error:
        raise InputError(one_line(error)) from error
    report = tile_slides(config)
    counts = statuses(report.rows)
    patches = sum(row.patches for row in report.rows)
    print("tile: " + ", ".join(f"{count} {status}" for status, count in counts.items()) + f"; {patches} patches")
    for row in report.rows:
        if row.status in ("no-tissue", "locked"):
            print(f"wsi2dmamba: {row.slide}: {row.message}", file=sys.stderr)
    for row in report.failed:
        print(f"wsi2dmamba: {row.slide}: {row.message}", file=sys.stderr)
    print(f"look at: {out / 'tiles.html'}")
    if report.failed:
        raise typer.Exit(1)


def _pair(text: str) -> tuple[int, int]:
    from wsi2dmamba.core.errors import InputError

    try:
        x, y = (int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"--origin must be two whole numbers X,Y, not {text!r}") from error
    return x, y
