"""`python -m benchmarks.spatial.ablation`: every option of `2dmamba` against its defaults, on a few rules."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from benchmarks.spatial.judge import Budget
from benchmarks.spatial.report import markdown_table
from benchmarks.spatial.runs import run_missing
from benchmarks.spatial.systems import options_at

BASE: dict[str, Any] = {
    "corners": 4,
    "corner_parameters": "shared",
    "conv": "2d",
    "pooling": "tissue",
    "gaps": "scan",
    "layers": 1,
}
"""What the variants differ from, whatever the defaults become."""

VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "gaps: skip": {"gaps": "skip"},
    "gaps: cross": {"gaps": "cross"},
    "regions: [2, 4]": {"regions": [2, 4]},
    "corners: 1": {"corners": 1},
    "corners: 1, state: 16": {"corners": 1, "state": 16},
    "corners: 1, gaps: skip": {"corners": 1, "gaps": "skip"},
    "corner_parameters: separate": {"corner_parameters": "separate"},
    "conv: none": {"conv": "none"},
    "conv: 1d": {"conv": "1d", "conv_kernel": 4},
    "pooling: all": {"pooling": "all"},
    "layers: 2, drop_path: 0.1": {"layers": 2, "drop_path": 0.1},
}

RULES = ("adjacency", "distance")
WIDTH = 32


def main() -> None:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS))
    parser.add_argument("--rules", nargs="*", default=list(RULES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="processes, one thread each")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    asked = parser.parse_args()
    base = {**options_at("2dmamba", WIDTH), **BASE}
    systems = {name: ("2dmamba", {**base, **VARIANTS[name]}) for name in asked.variants}
    budget = Budget(rates=(5e-3,))
    results = run_missing(systems, asked.rules, asked.seeds, budget, asked.out / "ablation.csv", asked.workers)
    print(f"\n{markdown_table(results)}")


if __name__ == "__main__":
    main()
