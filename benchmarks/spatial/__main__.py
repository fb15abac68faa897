"""`python -m benchmarks.spatial`: every system on every rule, table and plot.

Options: --models, --rules, --seeds N, --epochs N, --train N, --out FOLDER, --short (two rules, three systems).
Results are added to OUT/results.csv as they come, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import pandas as pd
import torch

from benchmarks.machine import describe_machine
from benchmarks.spatial.judge import Budget, judge
from benchmarks.spatial.report import markdown_table, plot
from benchmarks.spatial.rules import RULES
from wsi2dmamba.models.registry import model_names


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=model_names())
    parser.add_argument("--rules", nargs="*", default=list(RULES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=Budget.epochs)
    parser.add_argument("--train", type=int, default=Budget.train)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/spatial"))
    parser.add_argument("--short", action="store_true")
    asked = parser.parse_args()
    if asked.short:
        asked.models, asked.rules, asked.seeds = ["mean", "abmil", "2dmamba"], ["composition", "rim"], 1
    asked.out.mkdir(parents=True, exist_ok=True)
    path = asked.out / "results.csv"
    results = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=["model", "rule", "seed"])
    done = set(zip(results["model"], results["rule"], results["seed"], strict=True))
    budget = Budget(train=asked.train, epochs=asked.epochs)
    for seed in range(asked.seeds):
        for rule in asked.rules:
            for model in asked.models:
                if (model, rule, seed) in done:
                    continue
                result = judge(model, rule, seed, budget)
                print(
                    f"{rule:12} {model:15} seed {seed}: AUC {result.auc:.3f}, shuffled {result.auc_shuffled:.3f}, "
                    f"{result.milliseconds:.1f} ms per bag",
                    flush=True,
                )
                row = pd.DataFrame([dataclasses.asdict(result)])
                row.to_csv(path, mode="a", header=not path.exists(), index=False)
    results = pd.read_csv(path)
    chosen = results[results["model"].isin(asked.models) & results["rule"].isin(asked.rules)]
    table = markdown_table(chosen)
    (asked.out / "table.md").write_text(table, encoding="utf-8")
    plot(chosen, asked.out / "spatial.svg")
    print(f"\n{describe_machine()}; torch on {torch.get_num_threads()} threads\n\n{table}")


if __name__ == "__main__":
    main()
