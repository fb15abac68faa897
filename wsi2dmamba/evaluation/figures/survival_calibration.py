"""Does a predicted survival probability mean what it says?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from lifelines import KaplanMeierFitter

from wsi2dmamba.evaluation.figures.style import COLOURS, GREY, Drawing, finish, new_axes, percent
from wsi2dmamba.evaluation.results import Evaluation
from wsi2dmamba.evaluation.rows import SURVIVAL_PREFIX, Rows

MOST_GROUPS = 5
LEAST_PATIENTS = 15


def survival_calibration(found: Evaluation) -> Drawing | None:
    """Return observed (Kaplan–Meier) against predicted survival at one time, patients grouped by the prediction.

    The time is the middle one of those that every row predicts. Groups are of equal size, `LEAST_PATIENTS` at least.

    Returns
    -------
    Drawing or None
        None where no time is predicted for everybody, or the patients are too few for two groups.
    """
    rows = found.predictions.rows("test")
    times = np.asarray(found.predictions.survival_times)
    if not len(times) or not (everywhere := np.flatnonzero(np.isfinite(rows.survival).all(axis=0))).size:
        return None
    column = int(everywhere[(len(everywhere) - 1) // 2])
    data = calibration_at(rows, column, float(times[column]), found.config.confidence)
    if len(data) < 2:
        return None
    figure, axes = new_axes()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    spread = np.abs(np.stack([data["observed"] - data["lower"], data["upper"] - data["observed"]]))
    axes.errorbar(data["predicted"], data["observed"], yerr=spread, color=COLOURS[0], marker="o", capsize=3)
    time = f"{times[column]:.3g}"
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.set(xlabel=f"Predicted survival at t = {time}", ylabel=f"Observed survival at t = {time}")
    caption = (
        f"Calibration at t = {time} ({SURVIVAL_PREFIX}{times[column]:g}): mean predicted survival of patients "
        f"grouped by it, against the groups' Kaplan–Meier estimates with {percent(found.config.confidence)} intervals. "
        "On the diagonal a probability means what it says."
    )
    return finish(figure, "calibration", caption, data)


def calibration_at(rows: Rows, column: int, time: float, confidence: float) -> pd.DataFrame:
    """Return one line per group: mean predicted survival, the Kaplan–Meier estimate with its interval, and patients.

    Parameters
    ----------
    rows
        Test rows; several of a patient (seeds) are averaged.
    column, time
        Which survival probability, and its t.
    confidence
        Of the interval (Greenwood's, on the log-log scale).
    """
    table = pd.DataFrame({"case": rows.case, "time": rows.time, "event": rows.event, "said": rows.survival[:, column]})
    patients = table.groupby("case").agg(time=("time", "first"), event=("event", "first"), said=("said", "mean"))
    wanted = min(MOST_GROUPS, len(patients) // LEAST_PATIENTS)
    lines = []
    for chosen in np.array_split(np.argsort(patients["said"].to_numpy(), kind="stable"), max(wanted, 1)):
        group = patients.iloc[chosen]
        last = group["time"].max()
        if last < time and not group.loc[group["time"] == last, "event"].all():
            continue  # everybody left is censored before: the estimate ends there
        fitter = KaplanMeierFitter(alpha=1 - confidence).fit(group["time"], group["event"])
        band = fitter.confidence_interval_survival_function_
        lower, upper = band[band.index <= time].iloc[-1]
        observed = float(fitter.predict(time))
        lines.append((float(group["said"].mean()), observed, float(lower), float(upper), len(group)))
    return pd.DataFrame(lines, columns=["predicted", "observed", "lower", "upper", "patients"])
