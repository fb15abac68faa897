"""`python -m benchmarks.spatial`: every system on every rule, table and plot.

Results are added to OUT/spatial.csv as they come, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from benchmarks.machine import describe_machine
from benchmarks.spatial.judge import Budget
from benchmarks.spatial.report import markdown_table, plot
from benchmarks.spatial.rules import RULES
from benchmarks.spatial.runs import run_missing
from benchmarks.spatial.systems import equal_options
from wsi2dmamba.models.registry import model_names

SHORT = Budget(train=40, validation=10, test=40, test_large=4, epochs=2, rates=(4e-3,))


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="*", default=model_names())
    parser.add_argument("--rules", nargs="*", default=list(RULES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--short", action="store_true", help="three systems, two rules, one seed, few bags")
    asked = parser.parse_args(arguments)
    if asked.short:
        asked.models, asked.rules, asked.seeds = ["mean", "abmil", "2dmamba"], ["composition", "rim"], 1
    systems = {model: (model, equal_options(model)) for model in asked.models}
    budget = SHORT if asked.short else Budget()
    results = run_missing(systems, asked.rules, asked.seeds, budget, asked.out / "spatial.csv", asked.workers)
    plot(results, asked.out / "spatial.svg")
    print(f"\n{describe_machine()}; torch on {torch.get_num_threads()} threads\n\n{markdown_table(results)}")


if __name__ == "__main__":
    main()
