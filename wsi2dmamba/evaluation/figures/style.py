"""One look for every figure, and the files it becomes."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wsi2dmamba.core.files import atomic_path

# Okabe & Ito (2008): told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
GREY = "#8A8F98"

_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "savefig.dpi": 200,
    "svg.hashsalt": "wsi2dmamba",
    # Text comes from the user's tables: a dollar sign in a class name is a dollar sign.
    "text.parse_math": False,
    "text.usetex": False,
}


@dataclass(frozen=True)
class Drawing:
    """A finished figure.

    Attributes
    ----------
    name
        Stem of its files.
    caption
        What a reader needs below it: what is shown, how many patients, what the band is.
    svg
        The picture.
    png
        The same at 200 dpi.
    data
        What it shows, as a table.
    wide
        Whether it needs the whole width of a page.
    """

    name: str
    caption: str
    svg: bytes
    png: bytes
    data: pd.DataFrame
    wide: bool = False

    @property
    def alt(self) -> str:
        """What a reader who sees no picture is told: the data of a diagram in words, else the caption."""
        return "; ".join(self.data["text"]) if "text" in self.data else self.caption

    @property
    def data_uri(self) -> str:
        """The SVG as an address that a self-contained page can hold."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg).decode("ascii")

    def write(self, folder: Path) -> None:
        """Write `<name>.svg`, `.png` and `.csv` into `folder`."""
        for suffix, content in ((".svg", self.svg), (".png", self.png)):
            with atomic_path(folder / f"{self.name}{suffix}") as partial:
                partial.write_bytes(content)
        with atomic_path(folder / f"{self.name}.csv") as partial:
            self.data.to_csv(partial, index=False)


@contextmanager
def house_style() -> Iterator[None]:
    """Draw in the house style inside the block."""
    with mpl.rc_context(_STYLE):
        yield


def new_axes(width_in: float = 3.9, height_in: float = 3.5) -> tuple[Figure, Axes]:
    """Return a figure with one pair of axes; no window system is touched."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    return figure, figure.add_subplot()


def finish(figure: Figure, name: str, caption: str, data: pd.DataFrame, *, wide: bool = False) -> Drawing:
    """Render a figure. The same data give the same bytes."""
    svg, png = io.BytesIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None})
    figure.savefig(png, format="png")
    return Drawing(name, caption, svg.getvalue(), png.getvalue(), data, wide)


def percent(confidence: float) -> str:
    """Return ``"95 %"`` for 0.95."""
    return f"{100 * confidence:g} %"
