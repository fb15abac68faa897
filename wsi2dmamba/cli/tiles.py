"""`wsi2dmamba train-tiles`."""

from __future__ import annotations

from pathlib import Path

import typer

from wsi2dmamba.cli import app

_COLUMNS = "Columns of the tables, where they have other names"


@app.command("train-tiles")
def train_tiles_command(
    data: Path = typer.Option(
        ..., help="Folder CLASS/image.png or CLASS/PATIENT/…/image.png, or a CSV: path, label, group, split."
    ),
    out: Path = typer.Option(..., help="The run folder."),
    groups: Path | None = typer.Option(
        None, help="For a folder: CSV with path (below the folder) and group (patient, slide, cluster) of each image."
    ),
    size: str = typer.Option("micro", help="Backbone: nano, micro (for CPUs), tiny, small (the published ones)."),
    px: int = typer.Option(224, help="Side that images are resized to; 96 to 128 for CPUs."),
    mpp: float | None = typer.Option(None, help="µm per pixel of the images as stored, kept for `extract`."),
    epochs: int = typer.Option(30, help="Passes over the training images."),
    batch_size: int = typer.Option(32, help="Images per step."),
    lr: float = typer.Option(1e-3, help="Highest learning rate: warm-up over two epochs, then a cosine to 0."),
    parts: int = typer.Option(5, help="Groups are dealt into so many parts: one tests, one validates, others train."),
    folds: int = typer.Option(1, help="How many parts take their turn as the tested one; --parts for all."),
    seed: int = typer.Option(0, help="Of the dealing, the first weights, the order, the augmentation."),
    precision: str = typer.Option("32", help="32, bf16-mixed or 16-mixed."),
    threads: int | None = typer.Option(None, min=1, help="Threads; 1 is fastest where other work runs too."),
    settings: list[str] = typer.Option(
        [], "--set", "-s", help="Any other setting: train.ema=0.99, augment.rotation=15, label_smoothing=0."
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a training of other settings or images."),
    path_column: str | None = typer.Option(None, rich_help_panel=_COLUMNS),
    label_column: str | None = typer.Option(None, rich_help_panel=_COLUMNS),
    group_column: str | None = typer.Option(None, rich_help_panel=_COLUMNS),
    split_column: str | None = typer.Option(None, rich_help_panel=_COLUMNS),
) -> None:
    """Train 2DVMamba on labelled patches; what is learnt then encodes the patches of slides.

    Images of one group (a patient, a slide, a cluster of near copies) are never on both sides of a division. The folder
    between class and image names the group, or a table does; without groups the figures are too good.

    Writes per fold model.safetensors, history.csv and predictions.csv; predictions.csv of the run is for `eval`, where
    the group is the case. Run the same command again after an interruption: it goes on at the step where it was.

    \b
    Examples:
    wsi2dmamba train-tiles --data tiles --out runs/lung --size micro --px 112 --epochs 40
    wsi2dmamba eval --predictions runs/lung/predictions.csv --out runs/lung/eval
    wsi2dmamba extract --tiles t --out f --encoder 2dvmamba:runs/lung
    """
    from wsi2dmamba.training.tiles.config import parse_tile_run
    from wsi2dmamba.training.tiles.run import train_tiles

    columns = {"path_column": path_column, "label_column": label_column}
    columns |= {"group_column": group_column, "split_column": split_column}
    values = {
        "tiles": {"data": data, "groups": groups, **columns},
        "out": out,
        "size": size,
        "px": px,
        "mpp": mpp,
        "parts": parts,
        "folds": folds,
        "train": {"epochs": epochs, "batch_size": batch_size, "lr": lr, "seeds": (seed,), "precision": precision},
    }
    run = parse_tile_run(values, settings)
    folder = train_tiles(run, threads=threads, overwrite=overwrite, say=lambda line: typer.echo(line, err=True))
    predictions = folder / "predictions.csv"
    typer.echo(f"next: wsi2dmamba eval --predictions {predictions} --out {folder / 'eval'}", err=True)
    typer.echo(f"      wsi2dmamba extract --encoder 2dvmamba:{folder} --tiles TILES --out FEATURES", err=True)
