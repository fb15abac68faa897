"""The `wsi2dmamba` command. Heavy imports stay inside the commands, so that `--help` answers at once."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from wsi2dmamba import __version__
from wsi2dmamba.core.errors import WSI2DMambaError

_ORDER = (
    *("demo", "tile", "extract", "init", "splits", "train", "eval", "compare", "predict", "heatmap", "run"),
    *("train-tiles", "convert", "verify", "inspect", "encoders", "models"),
)


class _Commands(TyperGroup):
    """The commands in the order of the work. Ctrl-C says how to go on (Typer alone says "Aborted!")."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names as `--help` lists them."""
        return sorted(
            super().list_commands(ctx), key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER)
        )

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("wsi2dmamba: interrupted; run the same command again to go on where it stopped", file=sys.stderr)
            raise typer.Exit(130) from None


app = typer.Typer(
    name="wsi2dmamba",
    cls=_Commands,
    help=(
        "From a folder of gigapixel slides and a CSV to a trained 2DMamba model and an evaluation.\n\n"
        "The stages, in order: tile → extract → train → eval. `wsi2dmamba demo` runs them all on a made cohort."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"wsi2dmamba {__version__}")
        raise typer.Exit()


@app.callback()
def _options(
    version: bool = typer.Option(False, "--version", callback=_show_version, is_eager=True, help="Show it."),
) -> None:
    """Options before the command."""


def main() -> None:
    """Run the command line: a user's error is one line on stderr and exit code 2."""
    try:
        app()
    except WSI2DMambaError as error:
        print(f"wsi2dmamba: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(error.exit_code)


from wsi2dmamba.cli import (  # noqa: E402, F401  (each registers its commands)
    cohort,
    demo,
    evaluation,
    features,
    heatmap,
    models,
    pipeline,
    slides,
    tiles,
    training,
)
