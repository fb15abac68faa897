"""`wsi2dmamba demo`."""

from __future__ import annotations

from pathlib import Path

import typer

from wsi2dmamba.cli import app


@app.command()
def demo(
    out: Path = typer.Option(Path("demo-run"), "--out", "-o", help="Folder of everything the demo makes."),
    tiles: Path | None = typer.Option(
        None, help="Folder of real patches, one subfolder per class, instead of drawn ones."
    ),
    roles: str | None = typer.Option(
        None,
        help=(
            "Which class plays what: tumour=CLASS,infiltrate=CLASS,stroma=CLASS (also fat, necrosis). "
            "Default: by name, else in alphabetical order."
        ),
    ),
    seed: int = typer.Option(0, min=0, help="Of the cohort, the drawing and the training."),
    patients: int = typer.Option(96, help="Number of patients, even: they come in pairs."),
    workers: int | None = typer.Option(None, "--workers", "-w", min=1, help="Processes. Default: one per processor."),
    folds: int = typer.Option(4, help="Folds of the cross-validation."),
    epochs: int | None = typer.Option(None, help="Passes over the training patients. Default: by task, 12 and 20."),
    side: int = typer.Option(14, help="Patches along each side of a slide, 224 pixels each."),
) -> None:
    """Make a cohort of slides and run all four stages on it: tile, extract, train, eval. Minutes on two processors.

    The slides are drawn (H&E-like, 0.5 µm/px, Aperio SVS) or put together from --tiles. Patients come in pairs made
    of the very same patches: in one the lymphocytes lie in a rim around the tumour ("excluded"), in the other they are
    spread through it ("inflamed"). The composition of a slide tells nothing; where its patches lie tells all. Survival
    follows the same, with noise and censoring. 2DMamba sees positions, ABMIL does not: the table at the end shows it.

    Run the same command again after an interruption: it goes on where it stopped, with the same results.

    Example: wsi2dmamba demo --out demo-run
    """
    from pydantic import ValidationError

    from wsi2dmamba.core.errors import InputError
    from wsi2dmamba.core.validation import one_line
    from wsi2dmamba.demo.config import DemoConfig
    from wsi2dmamba.demo.pipeline import run_demo
    from wsi2dmamba.demo.summary import summary_lines

    try:
        config = DemoConfig(
            out=out,
            tiles=tiles,
            roles=roles,
            seed=seed,
            patients=patients,
            workers=workers,
            folds=folds,
            epochs=epochs,
            side=side,
        )
    except ValidationError as error:
        raise InputError(one_line(error)) from error
    report = run_demo(config, say=lambda line: typer.echo(line, err=True))
    typer.echo("\n".join(summary_lines(report)))
