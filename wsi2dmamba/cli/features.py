"""`wsi2dmamba extract`."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from wsi2dmamba.cli import app


@app.command()
def extract(
    tiles: Path = typer.Option(..., help="Folder that `wsi2dmamba tile --out` wrote."),
    out: Path = typer.Option(..., help="Features go to OUT/<encoder>/<slide_id>.h5."),
    slides: Path | None = typer.Option(None, help="Where the slides are now, if they were moved after tiling."),
    encoder: str = typer.Option(
        "texture",
        help=(
            "A name of `wsi2dmamba encoders`, hf:<hub id or folder>[@revision], timm:<name>, torchscript:FILE, "
            "export:FILE, 2dvmamba:RUN (of `wsi2dmamba train-tiles`) or module:function."
        ),
    ),
    weights: str | None = typer.Option(None, help="Local weights (file or folder) instead of the hub's."),
    offline: bool = typer.Option(False, "--offline", help="Never ask the network."),
    pooling: str | None = typer.Option(None, help="cls, pooler, mean or cls+mean; default: the encoder's own."),
    encoder_px: int | None = typer.Option(None, help="Patch side in pixels the encoder sees, if it is not known."),
    encoder_mpp: float | None = typer.Option(None, help="µm per pixel the encoder was made for, if not known."),
    device: str = typer.Option("auto", help="auto, cpu, cuda, cuda:1."),
    devices: str | None = typer.Option(None, help="Several GPUs of this machine, e.g. 0,1; they share the slides."),
    batch_size: int = typer.Option(64, help="Patches per forward pass."),
    precision: str = typer.Option(
        "auto", help="auto (float16 on a GPU, float32 on a CPU), float32, float16, bfloat16."
    ),
    workers: int | None = typer.Option(None, help="Reading processes; default: from the processors; 0: none."),
    compile_: bool = typer.Option(False, "--compile", help="Compile the network with torch.compile."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Make every file again, whatever made it."),
    reader: str = typer.Option("auto", help="Slide reader: auto, native, openslide, tifffile or image."),
    cache: Path | None = typer.Option(None, help="Local disk that slides of a slow drive are copied to ahead of use."),
    dask: str | None = typer.Option(
        None, help="Dask scheduler (tcp://host:8786) or YAML of a cluster (docs/clusters.md): one task per slide."
    ),
    on_bad_tile: str = typer.Option(
        "skip", help="skip: leave unreadable patches out and count them; fail: fail the slide."
    ),
) -> None:
    """Turn the patches of every slide into features.

    Finished slides are skipped, so the same command goes on where it stopped. A slide that fails is reported (also in
    OUT/<encoder>/features.csv), the others go on, and the exit code is 1.

    Example: wsi2dmamba extract --tiles run/tiles --out run/features --encoder hf:facebook/dinov2-base
    """
    from pydantic import ValidationError

    from wsi2dmamba.core.errors import InputError
    from wsi2dmamba.core.validation import one_line
    from wsi2dmamba.features.config import ExtractConfig
    from wsi2dmamba.features.extract import extract_slides

    chosen = tuple(part for part in (devices or device).split(",") if part.strip())
    try:
        config = ExtractConfig(
            tiles=tiles,
            out=out,
            slides=slides,
            encoder=encoder,
            weights=weights,
            offline=offline,
            pooling=pooling,
            encoder_px=encoder_px,
            encoder_mpp=encoder_mpp,
            devices=chosen,
            batch_size=batch_size,
            precision=precision,  # type: ignore[arg-type]
            workers=workers,
            compile=compile_,
            overwrite=overwrite,
            reader=reader,  # type: ignore[arg-type]
            cache=cache,
            dask=dask,
            on_bad_tile=on_bad_tile,  # type: ignore[arg-type]
        )
    except ValidationError as error:
        raise InputError(one_line(error)) from error
    report = extract_slides(config)
    statuses = [row.status for row in report.rows]
    counts = {status: statuses.count(status) for status in ("done", "skipped", "empty", "locked", "failed")}
    patches = sum(row.patches for row in report.rows)
    print("extract: " + ", ".join(f"{n} {status}" for status, n in counts.items() if n) + f"; {patches} patches")
    for row in report.rows:
        if row.status in ("empty", "locked", "failed") or row.unreadable:
            print(f"wsi2dmamba: {row.slide_id}: {row.message}", file=sys.stderr)
    print(f"features: {report.folder}")
    if report.failed:
        raise typer.Exit(1)


@app.command()
def convert(
    source: Path = typer.Argument(..., help="A .h5 file or a folder of them: ours, CLAM, TRIDENT, STAMP, AtlasPatch."),
    out: Path = typer.Option(..., help="Folder for the converted files, laid out as the target tool expects."),
    to: str = typer.Option("wsi2dmamba", help="wsi2dmamba, clam, trident, stamp or atlaspatch."),
    on_collision: str = typer.Option("error", help="When two patches share a cell: error, mean or first."),
    slide_mpp: float | None = typer.Option(None, help="µm per level-0 pixel, where the file does not say it."),
    encoder: str | None = typer.Option(None, help="Which features of an AtlasPatch file that holds several."),
) -> None:
    """Convert patches and features between tools, with nothing lost on the way there and back.

    A converted file remembers where it came from (row order, exact coordinates, attributes), so that converting it
    back gives the same datasets. CLAM's grids, which start anew at every contour, are put on one lattice.

    Example: wsi2dmamba convert clam/h5_files --to wsi2dmamba --out features
    """
    from wsi2dmamba.core.errors import WSI2DMambaError
    from wsi2dmamba.features.convert import ConvertOptions, convert_file, files_to_convert

    options = ConvertOptions(to, on_collision, slide_mpp, encoder)
    paths = files_to_convert(source)
    failed = 0
    for path in paths:
        try:
            print(convert_file(path, out, options))
        except WSI2DMambaError as error:
            failed += 1
            print(f"wsi2dmamba: {path.name}: {' '.join(str(error).split())}", file=sys.stderr)
    if failed:
        print(f"convert: {len(paths) - failed} done, {failed} failed", file=sys.stderr)
        raise typer.Exit(1)


@app.command()
def verify(folder: Path = typer.Argument(..., help="A folder of tile or feature files (or one file).")) -> None:
    """Read every tile and feature file completely and say what is wrong: structure, counts, lattice, NaN, complete.

    The exit code is 1 when a file has a problem.

    Example: wsi2dmamba verify features/texture
    """
    from wsi2dmamba.features.verify import verify_folder

    files = patches = bad = 0
    for verdict in verify_folder(folder):
        files, patches, bad = files + 1, patches + verdict.patches, bad + bool(verdict.problems)
        for problem in verdict.problems:
            print(f"{verdict.path}: {problem}")
    print(f"verify: {files} files, {patches} patches, {bad} with problems")
    if bad:
        raise typer.Exit(1)


@app.command()
def inspect(file: Path = typer.Argument(..., help="A tile or feature file: ours or of another tool.")) -> None:
    """Say what a file holds: tool, grid, resolution, features, settings, and a map of the tissue.

    Example: wsi2dmamba inspect features/texture/slide-1.h5
    """
    from wsi2dmamba.features.inspection import describe_file

    print("\n".join(describe_file(file)))


@app.command()
def encoders() -> None:
    """List the encoders known by name: library, source, dimension, expected input, normalisation, pooling, licence.

    Gated ones need access from their authors and `hf auth login`. Packages can add their own (docs/encoders.md).

    Example: wsi2dmamba extract --tiles t --out f --encoder uni2-h
    """
    from wsi2dmamba.features.encoders.cards import card_table
    from wsi2dmamba.features.encoders.registry import offered_by_packages

    print(card_table())
    for name, point in sorted(offered_by_packages().items()):
        print(f"{name}  (offered by {point.value})")
