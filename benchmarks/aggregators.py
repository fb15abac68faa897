"""Time per bag of every aggregator, on grids with a fifth of them tissue.

python -m benchmarks.aggregators [--sides 14 56 100 200] [--share 0.2] [--dim 128] [--threads 2] [--rounds 5]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import pandas as pd
import torch

from benchmarks.machine import describe_machine
from wsi2dmamba.models.base import Aggregator, Bag
from wsi2dmamba.models.registry import build_model, model_class, model_names
from wsi2dmamba.training.allocator import keep_freed_pages

IN_DIM = 1024
YARDSTICK = "transmil"


def tissue_bag(side: int, share: float) -> Bag:
    """Return random features on the smooth blobs that cover a share of a `side` × `side` grid."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 1, side, side, generator=generator)
    width = max(3, side // 8) | 1
    smooth = torch.nn.functional.avg_pool2d(noise, width, 1, width // 2).flatten()
    cells = smooth.topk(round(share * side * side)).indices.sort().values
    grid = torch.stack([cells // side, cells % side], dim=1)
    grid[0], grid[-1] = 0, side - 1
    return Bag(torch.randn(len(cells), IN_DIM, generator=generator), grid, (side, side))


def models_by_label(dim: int) -> dict[str, Aggregator]:
    """Return every model at one width; 2dmamba also with other options and as published."""
    variants: dict[str, dict[str, Any]] = {
        "state: 16": {"state": 16},
        "corners: 4": {"corners": 4},
        "gaps: skip": {"gaps": "skip"},
        "preset: paper": {"preset": "paper"},
    }
    torch.manual_seed(0)
    models = {}
    for name in model_names():
        width = {"dim": dim} if "dim" in model_class(name).Options.model_fields else {}  # type: ignore[attr-defined]
        models[name] = build_model(name, IN_DIM, 2, width)
        if name == "2dmamba":
            models |= {f"{name}, {key}": build_model(name, IN_DIM, 2, {**width, **v}) for key, v in variants.items()}
    return models


def forward(model: Aggregator, bag: Bag) -> None:
    """Take one bag, as in evaluation."""
    with torch.no_grad():
        model.eval()(bag)


def training(model: Aggregator, bag: Bag) -> None:
    """Take one bag and its gradients."""
    model.train()(bag).logits.sum().backward()


PASSES: dict[str, Callable[[Aggregator, Bag], None]] = {"forward": forward, "forward and backward": training}


def times_of(models: dict[str, Aggregator], bag: Bag, rounds: int, clock: Callable[[], float]) -> pd.DataFrame:
    """Return a row per round, and a column per pass and model: seconds."""
    found = []
    for _ in range(rounds + 1):
        row = {}
        for (kind, call), (label, model) in product(PASSES.items(), models.items()):
            started = clock()
            call(model, bag)
            row[kind, label] = clock() - started
        found.append(row)
    return pd.DataFrame(found[1:])  # the first round compiles, and touches memory for the first time


def main() -> None:
    """Print a table per pass: milliseconds, and the median over rounds of the ratio to the yardstick's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[14, 56, 100, 200])
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument(
        "--threads", type=int, default=2, help="with 1, processor time is measured, else wall-clock time"
    )
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    keep_freed_pages()  # as a training does
    clock = time.process_time if asked.threads == 1 else time.perf_counter
    models = models_by_label(asked.dim)
    times = {side: times_of(models, tissue_bag(side, asked.share), asked.rounds, clock) for side in asked.sides}
    print(f"{describe_machine()}\n\nwidth {asked.dim}, threads {asked.threads}, tissue {asked.share:.0%}")
    for kind in PASSES:
        print(f"\n| {kind}, ms (/ {YARDSTICK}) | {' | '.join(f'{side}²' for side in asked.sides)} |")
        print("|---|" + "---:|" * len(asked.sides))
        for label in models:
            cells = [_cell(times[side][kind, label], times[side][kind, YARDSTICK]) for side in asked.sides]
            print(f"| {label} | {' | '.join(cells)} |")


def _cell(seconds: pd.Series, yardstick: pd.Series) -> str:
    return f"{1e3 * seconds.median():.3g} ({(seconds / yardstick).median():.2f})"


if __name__ == "__main__":
    main()
