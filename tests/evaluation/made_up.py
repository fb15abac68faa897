"""Made-up predictions with known truth, for the tests of this package."""

from __future__ import annotations

import numpy as np
import pandas as pd


def classification_table(
    *,
    patients: int = 60,
    classes: int = 2,
    folds: int = 3,
    seeds: int = 1,
    signal: float = 1.5,
    validation: bool = True,
    rounding: int = 2,
    seed: int = 0,
) -> pd.DataFrame:
    """Return a predictions table; scores are rounded so that ties occur. Fold k's model has an offset of its own."""
    rng = np.random.default_rng(seed)
    label = np.arange(patients) % classes
    rows = []
    for run in range(seeds):
        for fold in range(folds):
            logits = rng.normal(size=(patients, classes)) + signal * np.eye(classes)[label]
            logits[:, 0] += fold
            probability = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            probability = np.round(probability, rounding)
            probability[:, 0] += 1 - probability.sum(axis=1)
            for k in range(patients):
                test, held = k // classes % folds == fold, k // classes % folds == (fold + 1) % folds
                if test or (held and validation):
                    named = {f"prob_c{j}": float(probability[k, j]) for j in range(classes)}
                    split = "test" if test else "validation"
                    rows.append(
                        {"case_id": f"p{k:03d}", "fold": fold, "seed": run, "split": split, "label": f"c{label[k]}"}
                        | named
                    )
    return pd.DataFrame(rows)


def survival_table(
    *, patients: int = 90, folds: int = 3, seeds: int = 1, effect: float = 1.0, columns: bool = True, seed: int = 0
) -> pd.DataFrame:
    """Return a survival table with censoring, tied times, training rows, and survival_<t> columns."""
    rng = np.random.default_rng(seed)
    hazard = rng.normal(size=patients)
    survived = rng.exponential(20 * np.exp(-effect * hazard))
    censored = rng.exponential(30, size=patients)
    time, event = np.ceil(np.minimum(survived, censored)), survived <= censored
    rows = []
    for run in range(seeds):
        for fold in range(folds):
            risk = (hazard + rng.normal(size=patients)) * (1 + fold) + 10 * fold
            for k in range(patients):
                row = {
                    "case_id": f"p{k:03d}",
                    "fold": fold,
                    "seed": run,
                    "split": "test" if k % folds == fold else "train",
                    "time": time[k],
                    "event": int(event[k]),
                    "risk": risk[k],
                }
                if columns:
                    rate = np.exp(effect * hazard[k]) / 20
                    row |= {f"survival_{t}": float(np.exp(-rate * t)) for t in (5, 10, 20, 40)}
                rows.append(row)
    return pd.DataFrame(rows)
