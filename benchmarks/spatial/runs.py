"""Run what is missing of systems × rules × seeds, and keep every result in a table on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.spatial.judge import Budget, Result, judge

Systems = Mapping[str, tuple[str, dict[str, Any]]]
"""Name in the table → name and options of the model."""


def run_missing(systems: Systems, rules: Iterable[str], seeds: int, budget: Budget, path: Path) -> pd.DataFrame:
    """Add to the table at `path` what it lacks, and return the rows asked for.

    With the first seed of the first rule every learning rate of the budget is tried, and the one that does best on
    its validation bags is the system's from then on. Seeds come last, so a run that is stopped leaves whole seeds.
    """
    rules = list(rules)
    path.parent.mkdir(parents=True, exist_ok=True)
    for seed in range(seeds):
        for rule in rules:
            for system, (model, options) in systems.items():
                known = _read(path)
                own = known[known["system"] == system]
                if ((own["rule"] == rule) & (own["seed"] == seed)).any():
                    continue
                rate = float(own["rate"].iloc[0]) if len(own) else None
                result = judge(system, model, options, rule, seed, budget, rate)
                row = pd.DataFrame([dataclasses.asdict(result)]).round(5)
                row.to_csv(path, mode="a", header=not path.exists(), index=False)
                print(
                    f"{rule:12} {system:24} seed {seed}: {result.score:.3f}, shuffled {result.shuffled:.3f}, "
                    f"{result.milliseconds:.1f} ms per step",
                    flush=True,
                )
    results = _read(path)
    return results[results["system"].isin(systems) & results["rule"].isin(rules) & (results["seed"] < seeds)]


def _read(path: Path) -> pd.DataFrame:
    if path.exists():
        return pd.read_csv(path)
    return pd.DataFrame(columns=[field.name for field in dataclasses.fields(Result)])
