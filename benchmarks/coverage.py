"""Do the intervals hold? Cohorts whose true AUC and C-index are known by construction, judged again and again.

    python -m benchmarks.coverage [--repetitions 200] [--patients 150]

AUC: scores of positives are normal with mean d, of negatives with mean 0, so the true AUC is Φ(d/√2). C-index: times
are exponential with hazard e^(βr), r ~ N(0, 1), and the risk is r itself. Censoring is independent and exponential;
Harrell's C counts the pairs it leaves, and their true share in the right order is an integral over two patients.

With folds of 30 patients the intervals of pair metrics are on the wide side: the bootstrap counts the part of their
variance that belongs to pairs, not to patients, three times. With larger folds that part vanishes.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from scipy.stats import norm

from benchmarks.machine import describe_machine
from wsi2dmamba.evaluation.config import EvalConfig
from wsi2dmamba.evaluation.judge import Judge
from wsi2dmamba.evaluation.predictions import read_predictions

SEPARATION = 1.2
BETA = 0.8
CENSORING_SCALE = 2.0
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
    died, left = rng.exponential(np.exp(-BETA * risk)), rng.exponential(CENSORING_SCALE, size=patients)
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
    """Return Harrell's C of infinitely many patients of `survival_table`, by integration.

    Of two patients with hazards a and b, both censored at the rate c, the first one's event is seen before anything
    happens to the second with probability a / (a + b + 2c). C is the expected larger of the two over their sum.
    """
    risk = np.linspace(-8.0, 8.0, 2001)
    density = norm.pdf(risk)
    hazard = np.exp(BETA * risk)
    a, b = hazard[:, None], hazard[None, :]
    both = np.outer(density, density) / (a + b + 2.0 / CENSORING_SCALE)
    return float((both * np.maximum(a, b)).sum() / (both * (a + b)).sum())


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
