"""`wsi2dmamba train`."""

from __future__ import annotations

from pathlib import Path

import typer

from wsi2dmamba.cli import app


@app.command()
def train(
    config: Path = typer.Option(..., "--config", "-c", help="The run's YAML (`wsi2dmamba init` writes one)."),
    settings: list[str] = typer.Option(
        [], "--set", "-s", help="Change one setting: section.key=value, e.g. train.lr=1e-4. May be repeated."
    ),
    workers: int | None = typer.Option(
        None,
        "--workers",
        "-w",
        min=1,
        help="Trainings (folds × seeds) at the same time. Default: one per GPU or processor.",
    ),
    dask: str | None = typer.Option(
        None,
        help="Train on a Dask cluster: tcp://host:8786, a scheduler file (.json), or a .yaml for Slurm and others.",
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a run of other settings in the run folder."),
) -> None:
    """Train a slide-level model on features: every fold, every seed.

    Writes runs/NAME/ with config.yaml, environment.json, splits.csv, predictions.csv, and per fold the weights
    (safetensors + JSON), history.csv and predictions.csv. Patients are never divided between train, validation and
    test; the weights that are kept are chosen on validation patients only.

    Run it again after an interruption: finished folds are skipped, the others go on at the step where they were, and
    the result is the same. A finished run is left alone.

    Next: wsi2dmamba eval runs/NAME

    Example: wsi2dmamba train --config run.yaml --set train.epochs=30 --set model.name=abmil --set name=abmil
    """
    from wsi2dmamba.config import load_config
    from wsi2dmamba.training.run import train_run

    run = load_config(config, settings, say=lambda line: typer.echo(line, err=True))
    finished_before = (run.folder / "predictions.csv").is_file()
    folder = train_run(
        run, workers=workers, dask=dask, overwrite=overwrite, say=lambda line: typer.echo(line, err=True)
    )
    typer.echo(f"{'already finished' if finished_before and not overwrite else 'done'}: {folder}", err=True)
    typer.echo(f"next: wsi2dmamba eval {folder}", err=True)
