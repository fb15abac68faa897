"""Time per bag of every aggregator, on a large grid with a fifth of it tissue.

python -m benchmarks.aggregators [--side 100] [--share 0.2] [--dim 128] [--threads 2] [--rounds 5]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from benchmarks.machine import describe_machine
from wsi2dmamba.models.base import Aggregator, Bag
from wsi2dmamba.models.registry import build_model, model_class, model_names
from wsi2dmamba.training.allocator import keep_freed_pages

IN_DIM = 1024
YARDSTICK = "transmil"
MODES = ("scan", "cross", "skip")


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
    """Return every model at one width; 2dmamba with each way of treating gaps."""
    torch.manual_seed(0)
    models = {}
    for name in model_names():
        width = {"dim": dim} if "dim" in model_class(name).Options.model_fields else {}  # type: ignore[attr-defined]
        if name == "2dmamba":
            models |= {f"{name}, gaps: {mode}": build_model(name, IN_DIM, 2, {**width, "gaps": mode}) for mode in MODES}
        else:
            models[name] = build_model(name, IN_DIM, 2, width)
    return models


def timed(call: Callable[[Aggregator], None], model: Aggregator) -> float:
    """Return the wall-clock seconds of a call."""
    started = time.perf_counter()
    call(model)
    return time.perf_counter() - started


def main() -> None:
    """Print the table: milliseconds, and the median over rounds of the ratio to the yardstick in the same round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=100)
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    keep_freed_pages()  # as a training does
    bag, models = tissue_bag(asked.side, asked.share), models_by_label(asked.dim)

    def forward(model: Aggregator) -> None:
        with torch.no_grad():
            model(bag)

    def training(model: Aggregator) -> None:
        model(bag).logits.sum().backward()

    rounds = []
    for _ in range(asked.rounds + 1):
        rounds.append({label: (timed(forward, model), timed(training, model)) for label, model in models.items()})
    del rounds[0]  # compilation, first touch of memory
    print(describe_machine() + "\n")
    print(f"{asked.side} × {asked.side} grid, {len(bag)} patches, width {asked.dim}, threads {asked.threads}\n")
    print(f"| model | forward ms | / {YARDSTICK} | forward and backward ms | / {YARDSTICK} |\n|---|---|---|---|---|")
    for label in models:
        row = []
        for which in (0, 1):
            times = [one[label][which] for one in rounds]
            ratios = [one[label][which] / one[YARDSTICK][which] for one in rounds]
            row += [f"{statistics.median(times) * 1e3:.0f}", f"{statistics.median(ratios):.2f}"]
        print(f"| {label} | {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
