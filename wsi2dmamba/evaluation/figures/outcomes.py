"""Figures of survival and regression: Kaplan–Meier with numbers at risk, time-dependent AUC, predicted against true."""

from __future__ import annotations

import numpy as np
import pandas as pd
from lifelines import KaplanMeierFitter
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wsi2dmamba.evaluation.figures.style import COLOURS, GREY, Drawing, finish, new_axes, percent
from wsi2dmamba.evaluation.results import Evaluation, RiskGroups
from wsi2dmamba.evaluation.riskgroups import patient_groups, split_by_risk, with_groups

_GROUPS = (("low risk", 0, COLOURS[0]), ("high risk", 1, COLOURS[1]))


def kaplan_meier(found: Evaluation) -> Drawing:
    """Return the Kaplan–Meier curves of the two risk groups, with the numbers at risk below."""
    high, fixed_on = split_by_risk(found.predictions, found.config.risk_group_quantile)
    patients = patient_groups(with_groups(found.predictions.rows("test"), high))
    figure = Figure(figsize=(5.6, 4.1), layout="constrained")
    curves, table = figure.subplots(2, 1, sharex=True, height_ratios=[5, 1])
    ticks = np.asarray([t for t in curves.xaxis.get_major_locator().tick_values(0, patients["time"].max()) if t >= 0])
    ticks = ticks[ticks <= patients["time"].max()]
    parts = []
    for name, code, colour in _GROUPS:
        group = patients[patients["high"] == code]
        if group.empty:
            continue
        fitter = KaplanMeierFitter(alpha=1 - found.config.confidence)
        fitter.fit(group["time"], group["event"], label=f"{name} (n = {len(group)})")
        fitter.plot_survival_function(ax=curves, color=colour, ci_alpha=0.15, show_censors=True, censor_styles=_CENSOR)
        band = fitter.confidence_interval_survival_function_
        parts.append(
            pd.DataFrame(
                {
                    "group": name,
                    "time": band.index,
                    "survival": fitter.survival_function_.iloc[:, 0].to_numpy(),
                    "lower": band.iloc[:, 0].to_numpy(),
                    "upper": band.iloc[:, 1].to_numpy(),
                    "at_risk": fitter.event_table["at_risk"].to_numpy(),
                }
            )
        )
    _finish_curves(curves, found.risk_groups)
    _numbers_at_risk(table, patients, ticks)
    where = {"train": "training patients", "validation": "validation patients"}.get(fixed_on, "test patients")
    warning = " Fixed on the test patients themselves, the split is exploratory." if fixed_on == "test" else ""
    caption = (
        f"Kaplan–Meier estimates of {found.patients} test patients ({found.events} events), split at the "
        f"{found.config.risk_group_quantile:.0%} quantile of the risks of the {where} of each fold.{warning} "
        f"Bands: {percent(found.config.confidence)}; ticks: censored."
    )
    return finish(figure, "kaplan-meier", caption, pd.concat(parts, ignore_index=True), wide=True)


_CENSOR = {"ms": 4, "marker": "|"}


def _finish_curves(axes: Axes, groups: RiskGroups | None) -> None:
    axes.set(ylim=(-0.02, 1.02), ylabel="Event-free share", xlabel="")
    axes.set_xlim(left=0)
    axes.minorticks_off()
    lines = []
    if groups is not None:
        ratio = groups.hazard_ratio
        if ratio.estimate is not None and ratio.lower is not None and ratio.upper is not None:
            lines.append(f"HR {ratio.estimate:.2f} ({ratio.lower:.2f} to {ratio.upper:.2f})")
        if groups.log_rank_p is not None:
            p = groups.log_rank_p
            lines.append("log-rank P < 0.001" if p < 0.001 else f"log-rank P = {p:.3f}")
    axes.legend(loc="upper right", title="\n".join(lines) or None, title_fontsize=8)


def _numbers_at_risk(axes: Axes, patients: pd.DataFrame, ticks: np.ndarray) -> None:
    axes.set(ylim=(-0.6, 1.6), xlabel="Time (the table's unit)")
    axes.set_yticks([1, 0], [name for name, _, _ in _GROUPS])
    axes.set_title("Number at risk", loc="left", fontsize=8)
    axes.set_xticks(ticks)
    for place, (_, code, colour) in zip((1, 0), _GROUPS, strict=True):
        time = patients.loc[patients["high"] == code, "time"].to_numpy()
        for tick in ticks:
            axes.text(tick, place, str(int((time >= tick).sum())), ha="center", va="center", color=colour, fontsize=8)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(axis="y", left=False, pad=12)
    axes.tick_params(axis="x", which="both", bottom=False)


def auc_over_time(found: Evaluation) -> Drawing | None:
    """Return the time-dependent AUC at the horizons, or None without horizons."""
    points = [(float(name.partition("/")[2]), value) for name, value in found.pooled.items() if name[:6] == "auc_t/"]
    points = [(time, value) for time, value in points if value.estimate is not None]
    if not points:
        return None
    data = pd.DataFrame(
        [{"time": time, "auc": v.estimate, "lower": v.lower, "upper": v.upper} for time, v in points]
    ).astype(float)
    figure, axes = new_axes(3.9, 2.8)
    axes.axhline(0.5, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    spread = np.abs(np.stack([data["auc"] - data["lower"], data["upper"] - data["auc"]]))
    axes.errorbar(data["time"], data["auc"], yerr=spread, color=COLOURS[0], marker="o", capsize=3)
    axes.set(ylim=(0, 1.02), xlabel="Time (the table's unit)", ylabel="AUC(t)")
    caption = (
        "Time-dependent AUC: patients with the event by t against patients still event-free at t, within folds, "
        f"weighted for censoring; {percent(found.config.confidence)} intervals."
    )
    return finish(figure, "auc-over-time", caption, data)


def predicted_against_true(found: Evaluation) -> Drawing:
    """Return a scatter of prediction against target."""
    rows = found.predictions.rows("test")
    figure, axes = new_axes()
    both = np.concatenate([rows.target, rows.prediction])
    ends = [float(both.min()), float(both.max())]
    axes.plot(ends, ends, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.scatter(rows.target, rows.prediction, s=12, color=COLOURS[0], alpha=0.6, linewidths=0)
    axes.set(xlabel="Target", ylabel="Prediction")
    ids = [rows.case_ids[k] for k in rows.case]
    data = pd.DataFrame({"case_id": ids, "fold": rows.fold, "target": rows.target, "prediction": rows.prediction})
    caption = f"Prediction against target of {found.patients} test patients, out of fold; on the diagonal both agree."
    return finish(figure, "predicted-against-true", caption, data)
