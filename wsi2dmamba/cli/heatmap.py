"""`wsi2dmamba heatmap`."""

from __future__ import annotations

from pathlib import Path

import typer

from wsi2dmamba.cli import app


@app.command()
def heatmap(
    run: Path = typer.Argument(..., help="A run folder made by `wsi2dmamba train`."),
    slide: str = typer.Argument(..., help="A slide file, or the id of a slide of the run."),
    out: Path | None = typer.Option(None, "--out", "-o", help="Output folder. Default: RUN/heatmaps/SLIDE."),
    features: Path | None = typer.Option(None, help="Feature file or folder. Default: the run's."),
    fold: int | None = typer.Option(
        None, help="Ask this fold's models. Default: those that did not train on the slide."
    ),
    of_class: str | None = typer.Option(None, "--class", help="Class to explain. Default: the most probable one."),
    top: int = typer.Option(12, min=0, help="Highest-scoring patches to show."),
    passes: int = typer.Option(
        512, min=0, help="Forward passes of each model for the influence; larger slides go in blocks. 0: none."
    ),
    opacity: float = typer.Option(0.55, min=0.0, max=1.0, help="Of the colours over the slide, 0 to 1."),
) -> None:
    """Show where a model looked on a slide, for classification and survival alike.

    Writes attention.png, contribution.png and influence.png (the thumbnail with every patch coloured, aligned to the
    pixel), the top patches, patches.csv, and patches.geojson: drop it on the slide in QuPath for detections with
    scores.

    Attention is how much a patch weighs. The contribution says in which direction it pulls: towards the class, or
    towards a higher risk. Both hold what the model carried to the patch from elsewhere. The influence says where the
    evidence came from: how far the prediction falls when other patches of the slide lie there instead.

    Example: wsi2dmamba heatmap runs/demo P001 --class spread
    """
    from wsi2dmamba.evaluation.heatmap_files import summary_lines, write_heatmap

    scores, written = write_heatmap(
        run, slide, features=features, out=out, fold=fold, of_class=of_class, top=top, opacity=opacity, passes=passes
    )
    for line in summary_lines(scores):
        typer.echo(line)
    for path in written:
        typer.echo(f"written: {path}", err=True)
