"""Training curves: what every fold's loss did, and where validation was best."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.ticker import MaxNLocator

from wsi2dmamba.evaluation.figures.style import COLOURS, Drawing, finish, new_axes


def training_curves(histories: Mapping[str, pd.DataFrame]) -> Drawing | None:
    """Return train and validation loss over epochs, or None when no history holds both.

    Parameters
    ----------
    histories
        Training (``fold-0``) → its history.csv, with columns epoch, train_loss, validation_loss.
    """
    needed = {"epoch", "train_loss", "validation_loss"}
    usable = {name: table for name, table in histories.items() if needed <= set(table) and len(table)}
    if not usable:
        return None
    figure, axes = new_axes(5.6, 3.2)
    for number, (name, table) in enumerate(usable.items()):
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(table["epoch"], table["train_loss"], color=colour, linewidth=1, linestyle=(0, (3, 2)))
        axes.plot(table["epoch"], table["validation_loss"], color=colour, linewidth=1.4, label=name)
        best = int(table["validation_loss"].argmin())
        axes.plot(
            table["epoch"].iloc[best], table["validation_loss"].iloc[best], marker="o", color=colour, markersize=4
        )
    axes.set(xlabel="Epoch", ylabel="Loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if len(usable) <= 10:
        axes.legend(ncols=2)
    data = pd.concat([table.assign(training=name) for name, table in usable.items()], ignore_index=True)
    caption = (
        "Loss over epochs: dashed on training, solid on validation patients; the dot is each lowest validation loss."
    )
    return finish(figure, "training-curves", caption, data)
