"""Run what is missing of systems × rules × seeds, and keep every result in a table on disk."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from itertools import product
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pandas as pd
import torch

from benchmarks.spatial.judge import Budget, Result, judge

Systems = Mapping[str, tuple[str, dict[str, Any]]]
"""Name in the table → name and options of the model."""


def run_missing(
    systems: Systems, rules: Iterable[str], seeds: int, budget: Budget, path: Path, workers: int = 1
) -> pd.DataFrame:
    """Add to the table at `path` what it lacks, and return the rows asked for.

    With the first seed of the first rule every learning rate of the budget is tried, and the one that does best on
    its validation bags is the system's from then on. Seeds come last, so a run that is stopped leaves whole seeds.

    Parameters
    ----------
    systems, rules, seeds
        What to run: seeds 0 to `seeds` - 1.
    budget
        What every system gets.
    path
        The table, a CSV file.
    workers
        Processes that share the systems of a rule, one thread each.
    """
    rules = list(rules)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _pool(workers) if workers > 1 else nullcontext() as pool:
        run = map if pool is None else pool.map
        for seed, rule in product(range(seeds), rules):
            known = _read(path)
            jobs = [
                (system, model, options, rule, seed, budget, rate)
                for system, (model, options) in systems.items()
                for rate in _rates_if_missing(known, system, rule, seed)
            ]
            for result in run(_judge, jobs):
                _keep(result, path)
    return _asked_for(_read(path), list(systems), rules, seeds)


def _asked_for(results: pd.DataFrame, systems: list[str], rules: list[str], seeds: int) -> pd.DataFrame:
    """Return the rows of these systems, rules and seeds, in this order."""
    chosen = results[results["system"].isin(systems) & results["rule"].isin(rules) & (results["seed"] < seeds)]
    places = [chosen["system"].map(systems.index), chosen["rule"].map(rules.index), chosen["seed"]]
    return chosen.iloc[np.lexsort(places[::-1])]


def _rates_if_missing(known: pd.DataFrame, system: str, rule: str, seed: int) -> list[float | None]:
    """Return nothing if the result is known, else the one learning rate to use; None: try all."""
    own = known[known["system"] == system]
    if ((own["rule"] == rule) & (own["seed"] == seed)).any():
        return []
    return [float(own["rate"].iloc[0]) if len(own) else None]


def _judge(job: tuple[Any, ...]) -> Result:
    return judge(*job)


def _pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_use_one_thread)


def _use_one_thread() -> None:
    torch.set_num_threads(1)
    numba.set_num_threads(1)


def _keep(result: Result, path: Path) -> None:
    row = pd.DataFrame([dataclasses.asdict(result)]).round(5)
    row.to_csv(path, mode="a", header=not path.exists(), index=False)
    print(
        f"{result.rule:12} {result.system:24} seed {result.seed}: {result.score:.3f}, "
        f"shuffled {result.shuffled:.3f}, {result.milliseconds:.1f} ms per step",
        flush=True,
    )


def _read(path: Path) -> pd.DataFrame:
    if path.exists():
        return pd.read_csv(path)
    return pd.DataFrame(columns=[field.name for field in dataclasses.fields(Result)])
