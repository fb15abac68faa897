"""`wsi2dmamba run` and `wsi2dmamba predict`."""

from __future__ import annotations

from pathlib import Path

import typer

from wsi2dmamba.cli import app


@app.command("run")
def run_command(
    config: Path = typer.Option(
        ..., "--config", "-c", help="The run's YAML; with sections tile and extract it starts from slides."
    ),
    settings: list[str] = typer.Option([], "--set", "-s", help="Change one setting, e.g. train.lr=1e-4."),
    workers: int | None = typer.Option(None, "--workers", "-w", min=1, help="Trainings at the same time."),
    dask: str | None = typer.Option(None, help="Train on a Dask cluster; see `wsi2dmamba train --help`."),
) -> None:
    """Run all stages of a config: tile → extract → train → eval, redoing only what changed.

    Slides, folds and reports that are done with the same settings are left alone: a second call does nothing, in
    seconds. Stages whose settings changed are done again, and so is what follows from them; results of the old
    settings are replaced. Without the sections tile and extract it starts from features.dir.

    \b
    tile:    {slides: ['slides'], out: work, mpp: 0.5}
    extract: {tiles: work, out: work/features, encoder: texture}

    Example: wsi2dmamba run --config run.yaml
    """
    from wsi2dmamba.config import load_config
    from wsi2dmamba.pipeline.chain import run_chain

    result = run_chain(
        load_config(config, settings, say=lambda line: typer.echo(line, err=True)),
        workers=workers,
        dask=dask,
        say=lambda line: typer.echo(line, err=True),
    )
    typer.echo(f"report: {result.report}", err=True)
    if result.failed_slides:
        typer.echo(f"{len(result.failed_slides)} slides failed: {', '.join(result.failed_slides[:8])}", err=True)
        raise typer.Exit(1)


@app.command()
def predict(
    run: Path = typer.Argument(..., help="A run folder (all its models, averaged), or one fold of it."),
    slides: list[Path] = typer.Argument(None, help="Slide files or folders of them."),
    out: Path = typer.Option(Path("predictions.csv"), "--out", "-o", help="The table to write."),
    features: Path | None = typer.Option(None, help="Feature files instead of slides."),
    cases: Path | None = typer.Option(None, help="Table with slide_id and case_id: slides of a patient go together."),
    work: Path | None = typer.Option(None, help="Where tiles and features go. Default: beside OUT, in OUT.work."),
    encoder: str | None = typer.Option(None, help="How to load the encoder. Default: by the name used in training."),
    slide_mpp: float | None = typer.Option(None, help="µm per level-0 pixel of slides that do not say it."),
    workers: int | None = typer.Option(None, "--workers", "-w", min=1, help="Processes. Default: one per processor."),
) -> None:
    """Predict new slides with a trained run: tiled, extracted and judged by all its folds, averaged.

    Slides are tiled at the resolution and encoded by the encoder of the run's training. The table has one row per
    case: prob_CLASS, or risk and survival_TIME, or prediction. A slide that fails is reported and the others go on
    (exit code 1).

    Examples: wsi2dmamba predict runs/demo new/*.svs --out new.csv · wsi2dmamba predict runs/demo --features f/texture
    """
    from wsi2dmamba.core.errors import InputError
    from wsi2dmamba.pipeline.predict import predict_features, predict_slides, write_predictions

    if bool(slides) == (features is not None):
        raise InputError("give slides, or feature files with --features, and not both")
    if features is not None:
        predicted = predict_features(run, features, cases=cases)
    else:
        predicted = predict_slides(
            run,
            slides,
            work or out.with_suffix(".work"),
            cases=cases,
            encoder=encoder,
            slide_mpp=slide_mpp,
            workers=workers,
            say=lambda line: typer.echo(line, err=True),
        )
    for slide, reason in predicted.failed.items():
        typer.echo(f"{slide}: {reason}", err=True)
    if predicted.table.empty:
        raise InputError("nothing could be predicted")
    write_predictions(out, predicted)
    typer.echo(f"written: {out} ({len(predicted.table)} cases)", err=True)
    if predicted.failed:
        raise typer.Exit(1)
