"""`wsi2dmamba models`."""

from __future__ import annotations

import typer

from wsi2dmamba.cli import app


@app.command()
def models(
    name: str | None = typer.Argument(None, help="Show this model's options and their defaults."),
    in_dim: int = typer.Option(1024, min=1, help="Features per patch, for the parameter counts."),
    grid: int = typer.Option(
        0, min=0, help="Side of a grid, in patches, to measure a bag on (a fifth of it tissue); 0: measure nothing."
    ),
) -> None:
    """List the aggregators that `model.name` takes (what each is, paper, parameters, cost), or the options of one.

    Parameters are counted with the default options and two classes. `--grid 100` also measures the milliseconds that
    one bag takes here, forward, and forward with backward.

    Examples: wsi2dmamba models · wsi2dmamba models 2dmamba · wsi2dmamba models --grid 61
    """
    from rich.console import Console
    from rich.table import Table

    from wsi2dmamba.models.cost import bag_milliseconds, parameter_count
    from wsi2dmamba.models.registry import MODELS, parse_options

    if name is not None:
        for option, value in parse_options(name, {}).model_dump(mode="json").items():
            typer.echo(f"{option}: {'null' if value is None else value}")
        return
    table = Table("model", "what it does", "paper", "parameters", "time grows with")
    if grid:
        table.add_column("forward ms", justify="right")
        table.add_column("with backward ms", justify="right")
    for known, entry in MODELS.items():
        row = [known, entry.title, entry.paper, f"{parameter_count(known, in_dim):,}", entry.cost]
        if grid:
            row += [f"{milliseconds:.1f}" for milliseconds in bag_milliseconds(known, in_dim, grid)]
        table.add_row(*row)
    console = Console()
    # Without a terminal the width is unknown: lines are then as long as they need to be.
    Console(width=console.width if console.is_terminal else 220).print(table)
