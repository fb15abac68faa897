"""Do the intervals hold? Cohorts whose true AUC and C-index are known by construction, judged again and again.

    python -m benchmarks.coverage [--repetitions 200] [--patients 150]

AUC: scores of positives are normal with mean d, of negatives with mean 0, so the true AUC is Φ(d/√2). C-index: times
are exponential with hazard e^(βr) and the risk is r itself; of two patients with risks r and s the first has the
event first with probability e^(βr)/(e^(βr) + e^(βs)), and the true C is the mean of the larger of the two over
r, s ~ N(0, 1). Censoring is independent; Harrell's C counts the pairs it leaves, which weighs early times more, so
the truth for it is taken from one cohort of 20,000 patients with the same censoring. Uno's C is free of this.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from scipy.stats import norm

from benchmarks.machine import describe_machine
from wsi2dmamba.evaluation.concordance import Concordance
from wsi2dmamba.evaluation.config import EvalConfig
from wsi2dmamba.evaluation.judge import Judge
from wsi2dmamba.evaluation.predictions import read_predictions

SEPARATION = 1.2
BETA = 0.8
FOLDS = 5


def class_table(patients: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return one cohort; every fold's model shifts its scores by an amount of its own."""
    positive = rng.random(patients) < 0.4
    fold = np.arange(patients) % FOLDS
    score = norm.cdf(rng.normal(size=patients) + SEPARATION * positive + fold - FOLDS / 2)
    return pd.DataFrame(
        {
            "case_id": np.arange(patients),
            "fold": fold,
            "label": np.where(positive, "yes", "no"),
            "prob_no": 1 - score,
            "prob_yes": score,
        }
    )


def survival_table(patients: int, rng: np.random.Generator) -> pd.DataFrame:
    """Return one cohort with about a third censored."""
    risk = rng.normal(size=patients)
    died, left = rng.exponential(np.exp(-BETA * risk)), rng.exponential(2.0, size=patients)
    fold = np.arange(patients) % FOLDS
    return pd.DataFrame(
        {
            "case_id": np.arange(patients),
            "fold": fold,
            "time": np.minimum(died, left),
            "event": (died <= left).astype(int),
            "risk": risk * (1 + fold) + fold,
        }
    )


def true_c_index() -> float:
    """Return Harrell's C of a cohort so large that it is the truth, to about 0.002."""
    table = survival_table(20_000, np.random.default_rng(1))
    risk = ((table["risk"] - table["fold"]) / (1 + table["fold"])).to_numpy()
    one = np.zeros(len(table), dtype=np.int64)
    pairs = Concordance(table["time"].to_numpy(), table["event"].to_numpy() == 1, risk, one)
    return float(pairs.measure(np.ones((1, len(table))))[0][0])


def coverage(metric: str, truth: float, options: argparse.Namespace) -> tuple[float, float]:
    """Return the share of intervals that hold the truth, and the mean estimate."""
    make = class_table if metric == "auc" else survival_table
    held, estimates = 0, []
    for repetition in range(options.repetitions):
        table = make(options.patients, np.random.default_rng(1000 + repetition))
        config = EvalConfig(resamples=options.resamples, seed=repetition)
        judge = Judge(read_predictions(table), config)
        found = judge.intervals(judge.test)[metric]
        assert found.estimate is not None and found.lower is not None and found.upper is not None
        held += found.lower <= truth <= found.upper
        estimates.append(found.estimate)
    return held / options.repetitions, float(np.mean(estimates))


def main() -> None:
    """Print the table and fail if an interval does not hold what it promises."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--patients", type=int, default=150)
    parser.add_argument("--resamples", type=int, default=500)
    options = parser.parse_args()
    print(describe_machine() + "\n")
    print(f"{options.repetitions} cohorts of {options.patients} patients in {FOLDS} folds, 95 % intervals.\n")
    print("| metric | truth | mean estimate | intervals that hold it |")
    print("|---|---|---|---|")
    failed = False
    for metric, truth in (("auc", float(norm.cdf(SEPARATION / np.sqrt(2)))), ("c_index", true_c_index())):
        share, mean = coverage(metric, truth, options)
        failed |= not 0.90 <= share <= 0.98
        print(f"| {metric} | {truth:.4f} | {mean:.4f} | {share:.1%} |", flush=True)
    if failed:
        raise SystemExit("an interval holds the truth in less than 90 % or more than 98 % of the repetitions")


if __name__ == "__main__":
    main()
