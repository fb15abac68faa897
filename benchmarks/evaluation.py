"""How long intervals take: all classification or survival metrics, resampled.

    python -m benchmarks.evaluation [--patients 1000] [--resamples 1000]

The share of scikit-learn is for one resample of the same metrics computed by calling it, times the resamples.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
from sklearn import metrics as sk

from benchmarks.machine import describe_machine
from wsi2dmamba.evaluation.config import EvalConfig
from wsi2dmamba.evaluation.judge import Judge
from wsi2dmamba.evaluation.predictions import read_predictions
from wsi2dmamba.evaluation.rows import Rows


def class_table(patients: int, classes: int, folds: int) -> pd.DataFrame:
    """Return made-up predictions of a classification."""
    rng = np.random.default_rng(0)
    label = rng.integers(0, classes, patients)
    logits = rng.normal(size=(patients, classes)) + 1.5 * np.eye(classes)[label]
    probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    table = pd.DataFrame({"case_id": np.arange(patients), "fold": np.arange(patients) % folds, "label": label})
    for k in range(classes):
        table[f"prob_{k}"] = probability[:, k]
    return table


def survival_table(patients: int, folds: int) -> pd.DataFrame:
    """Return made-up survival predictions."""
    rng = np.random.default_rng(0)
    risk = rng.normal(size=patients)
    died, left = rng.exponential(np.exp(-risk)), rng.exponential(size=patients)
    return pd.DataFrame(
        {
            "case_id": np.arange(patients),
            "fold": np.arange(patients) % folds,
            "time": np.minimum(died, left),
            "event": (died <= left).astype(int),
            "risk": risk + rng.normal(size=patients),
        }
    )


def seconds(function: Callable[[], object], rounds: int = 3) -> float:
    """Return the shortest of several runs."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def with_scikit_learn(rows: Rows) -> None:
    """Compute one resample's classification metrics the plain way."""
    drawn = np.random.default_rng(0).integers(0, len(rows), len(rows))
    truth, probability = rows.label[drawn], rows.probability[drawn]
    called = probability.argmax(axis=1)
    binary = probability.shape[1] == 2
    sk.roc_auc_score(truth, probability[:, 1] if binary else probability, multi_class="ovr")
    sk.average_precision_score(
        truth if binary else np.eye(probability.shape[1])[truth], probability[:, 1] if binary else probability
    )
    sk.accuracy_score(truth, called)
    sk.balanced_accuracy_score(truth, called)
    sk.f1_score(truth, called, average="macro")
    sk.cohen_kappa_score(truth, called)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()
    config = EvalConfig(resamples=options.resamples)
    print(describe_machine() + "\n")
    print(f"All metrics of {options.patients} patients with {options.resamples} bootstrap resamples.\n")
    print("| task | folds | seconds | called one by one (scikit-learn) |")
    print("|---|---|---|---|")
    tables = {f"{k} classes": (lambda folds, k=k: class_table(options.patients, k, folds)) for k in (2, 5)}
    tables["survival"] = lambda folds: survival_table(options.patients, folds)
    for name, make in tables.items():
        for folds in (1, 5):
            judge = Judge(read_predictions(make(folds)), config)
            took = seconds(lambda judge=judge: judge.intervals(judge.test))
            plain = "–"
            if judge.follow_up is None:
                plain = f"{options.resamples * seconds(lambda judge=judge: with_scikit_learn(judge.test)):.0f}"
            print(f"| {name} | {folds} | {took:.2f} | {plain} |", flush=True)


if __name__ == "__main__":
    main()
