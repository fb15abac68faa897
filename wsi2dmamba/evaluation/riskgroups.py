"""Two risk groups, split where the training patients said, and what sets them apart."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
from lifelines import CoxPHFitter
from lifelines.exceptions import ConvergenceError, ConvergenceWarning, StatError
from lifelines.statistics import logrank_test
from numpy.typing import NDArray

from wsi2dmamba.evaluation.bootstrap import Interval
from wsi2dmamba.evaluation.results import RiskGroups
from wsi2dmamba.evaluation.rows import Predictions, Rows


def split_by_risk(predictions: Predictions, quantile: float) -> tuple[NDArray[np.bool_], str]:
    """Return which test rows are at high risk, and on which rows the cut was fixed.

    A cut that comes with the predictions is taken. Else the cut of a fold and seed is the `quantile` of its training
    patients' risks; of its validation patients' where the table has no training rows; of the test patients'
    themselves as the last resort.

    Returns
    -------
    tuple
        (n,) bool for the test rows; ``"train"``, ``"validation"`` or ``"test"``.
    """
    table = predictions.table
    if predictions.cuts is not None and predictions.cuts.risk is not None:
        return (table.loc[table["split"] == "test", "risk"] > predictions.cuts.risk).to_numpy(), "train"
    fixed_on = next(split for split in ("train", "validation", "test") if (table["split"] == split).any())
    test = table[table["split"] == "test"]
    cuts = table[table["split"] == fixed_on].groupby(["fold", "seed"])["risk"].quantile(quantile)
    if fixed_on != "test" and not set(test.groupby(["fold", "seed"]).groups) <= set(cuts.index):
        fixed_on = "test"
        cuts = test.groupby(["fold", "seed"])["risk"].quantile(quantile)
    cut = np.array([cuts[fold, seed] for fold, seed in zip(test["fold"], test["seed"], strict=True)])
    return (test["risk"] > cut).to_numpy(), fixed_on


def with_groups(rows: Rows, high: NDArray[np.bool_]) -> Rows:
    """Return the rows with their risk group, and their risk in standard deviations of its fold and seed.

    Models differ in scale, so risks are compared within their own model only.
    """
    keys = pd.DataFrame({"fold": rows.fold, "seed": rows.seed})
    risk = pd.Series(rows.risk)
    by_model = risk.groupby([keys["fold"], keys["seed"]])
    deviation = by_model.transform("std", ddof=0).replace(0.0, 1.0)
    return replace(rows, high=high, risk_sd=((risk - by_model.transform("mean")) / deviation).to_numpy())


def patient_groups(rows: Rows) -> pd.DataFrame:
    """Return one line per patient: time, event, fold, whether most of its rows say high risk, and its mean risk."""
    table = pd.DataFrame(
        {
            "case": rows.case,
            "time": rows.time,
            "event": rows.event.astype(int),
            "fold": rows.fold,
            "high": rows.high.astype(float),
            "risk_sd": rows.risk_sd,
        }
    )
    joined = table.groupby("case").agg(
        time=("time", "first"),
        event=("event", "first"),
        fold=("fold", "first"),
        high=("high", "mean"),
        risk_sd=("risk_sd", "mean"),
    )
    joined["high"] = (joined["high"] > 0.5).astype(int)
    return joined


def compare_groups(rows: Rows, fixed_on: str, confidence: float) -> RiskGroups:
    """Return log-rank test and hazard ratios of the risk groups among some rows (`with_groups`)."""
    patients = patient_groups(rows)
    low, up = patients[patients["high"] == 0], patients[patients["high"] == 1]
    statistic = p = None
    if len(low) and len(up):
        test = logrank_test(low["time"], up["time"], low["event"], up["event"])
        statistic, p = float(test.test_statistic), float(test.p_value)
    return RiskGroups(
        fixed_on=fixed_on,
        log_rank_statistic=statistic,
        log_rank_p=p,
        hazard_ratio=_hazard_ratio(patients, "high", confidence),
        hazard_ratio_per_sd=_hazard_ratio(patients, "risk_sd", confidence),
        low=(len(low), int(low["event"].sum())),
        high=(len(up), int(up["event"].sum())),
    )


def _hazard_ratio(patients: pd.DataFrame, covariate: str, confidence: float) -> Interval:
    """Cox regression with one covariate, baseline hazard by fold; undefined when a group has no event."""
    with_event = patients[patients["event"] == 1]
    if patients[covariate].nunique() < 2 or with_event.empty:
        return Interval(None)
    if covariate == "high" and with_event["high"].nunique() < 2:
        return Interval(None)
    strata = ["fold"] if len(patients["fold"].unique()) > 1 else None
    columns = [covariate, "time", "event", *(strata or [])]
    fitter = CoxPHFitter(alpha=1.0 - confidence)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            fitter.fit(patients[columns], "time", "event", strata=strata)
    except (ConvergenceError, ConvergenceWarning, StatError, np.linalg.LinAlgError):
        return Interval(None)
    bounds = np.exp(fitter.confidence_intervals_.to_numpy()[0])
    return Interval(float(fitter.hazard_ratios_.iloc[0]), float(bounds[0]), float(bounds[1]))
