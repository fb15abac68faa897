"""One training step of the paper's model, its memory by grid size, and what reading features costs an epoch.

python -m benchmarks.training [step] [memory] [epoch]
"""

from __future__ import annotations

import itertools
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch

from benchmarks.machine import describe_machine
from wsi2dmamba.cohort.cases import Case
from wsi2dmamba.features.store import FeatureFile, write_features
from wsi2dmamba.models.base import Aggregator, Bag
from wsi2dmamba.models.registry import build_model
from wsi2dmamba.slides.lattice import Lattice
from wsi2dmamba.slides.tilefile import TileFile, TileGeometry
from wsi2dmamba.training.config import FeatureSource
from wsi2dmamba.training.data import BagStore, Sample
from wsi2dmamba.training.loader import SampleLoader
from wsi2dmamba.training.tasks.classification import Classification

DIM = 1024
CASE = Case("case", ("slide",), label=1)


def scattered_bag(side: int, patches: int, seed: int = 0) -> Bag:
    """Return `patches` random features at random cells of a `side` × `side` grid."""
    rng = np.random.default_rng(seed)
    cells = np.sort(rng.choice(side * side, patches, replace=False))
    cells[0], cells[-1] = 0, side * side - 1
    grid = torch.from_numpy(np.stack(np.divmod(cells, side), axis=1))
    return Bag(torch.from_numpy(rng.standard_normal((patches, DIM), dtype=np.float32)), grid, (side, side))


class Step:
    """Forward, backward and optimiser of one case."""

    def __init__(self, **options: object) -> None:
        torch.manual_seed(0)
        self.model: Aggregator = build_model("2dmamba", DIM, 2, dict(options))
        self.task = Classification(["a", "b"])
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-4)

    def __call__(self, bags: list[Bag]) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.task.loss(self.model(bags).logits[None], [CASE]).backward()
        self.optimizer.step()


def seconds_of(step: Step, bag: Bag, repeats: int) -> list[float]:
    """Return the wall-clock seconds of `repeats` steps, after two to warm up."""
    times = []
    for repeat in range(repeats + 2):
        started = time.perf_counter()
        step([bag])
        if repeat >= 2:
            times.append(time.perf_counter() - started)
    return times


def processor_seconds_of(options: dict[str, object], repeats: int) -> float:
    """Return the median processor time of a step with one thread: what other work on the machine changes least."""
    torch.set_num_threads(1)
    step, bag = Step(**options), scattered_bag(61, 1000)
    times = []
    for repeat in range(repeats + 2):
        started = time.process_time()
        step([bag])
        if repeat >= 2:
            times.append(time.process_time() - started)
    return statistics.median(times)


def step_table() -> None:
    """Print the time of one step on the grid of the published measurement."""
    print("### One training step: 61 × 61 grid, 1,000 patches × 1,024 features\n")
    print("| model | two threads: median ms | least ms | target ms | one thread: processor ms |\n|---|---|---|---|---|")
    for label, options in (("preset: paper", {"preset": "paper"}), ("defaults", {})):
        torch.set_num_threads(2)
        times = seconds_of(Step(**options), scattered_bag(61, 1000), repeats=15)
        alone = processor_seconds_of(options, repeats=9)
        median, least = statistics.median(times) * 1e3, min(times) * 1e3
        print(f"| {label} | {median:.0f} | {least:.0f} | 100 | {alone * 1e3:.0f} |", flush=True)
    torch.set_num_threads(2)


def peak_of_one_step(side: int) -> float:
    """Return the peak memory of one step on a `side` × `side` grid, MiB above what the process held before it."""
    step, bag = Step(preset="paper"), scattered_bag(side, side * side // 4)
    step([scattered_bag(8, 16)])  # compile and allocate what does not depend on the grid
    before = psutil.Process().memory_info().rss
    step([bag])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10 - before / 2**20


def memory_table() -> None:
    """Print the peak memory of a step by grid size, each in a process of its own."""
    print("\n### Memory of a training step (preset: paper, a quarter of the cells hold patches)\n")
    print("| grid | cells | extra peak MiB | KiB per cell |\n|---|---|---|---|")
    for side in (100, 200, 400):
        command = [sys.executable, "-m", "benchmarks.training", "peak", str(side)]
        mebibytes = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(f"| {side} × {side} | {side * side} | {mebibytes:.0f} | {mebibytes * 1024 / side**2:.2f} |", flush=True)


def written_cohort(folder: Path, slides: int, side: int, patches: int) -> dict[str, Path]:
    """Write feature files (float16) and return slide id → path."""
    paths = {}
    for index in range(slides):
        bag = scattered_bag(side, patches, seed=index)
        grid = bag.grid.numpy().astype(np.int32)
        lattice = Lattice(origin=(0, 0), step_level0=1024, shape=(side, side))
        geometry = TileGeometry(f"s{index:02d}", 0.25, 0.5, 512, 1024, 0, lattice, (side * 1024, side * 1024))
        tiles = TileFile(lattice.corners(grid), grid, np.ones(len(grid), np.float32), geometry)
        paths[f"s{index:02d}"] = folder / f"s{index:02d}.h5"
        write_features(paths[f"s{index:02d}"], FeatureFile(bag.features.half().numpy(), tiles, "random", "1"))
    return paths


class Epochs:
    """One epoch after the other, bags held in one way."""

    def __init__(self, paths: dict[str, Path], cache: str, step: Step, epochs: int) -> None:
        store = BagStore(paths, FeatureSource.model_validate({"dir": ".", "cache": cache}))
        samples = [Sample(Case(slide, (slide,), label=1), (slide,)) for slide in paths]
        self._batches = iter(SampleLoader(samples, store, epochs=epochs))
        self._length, self._step = len(samples), step

    def seconds(self) -> float:
        """Train the next epoch and return its processor time.

        Of all threads: the reading thread's share counts in full, though on an idle core it costs no time.
        """
        started = time.process_time()
        for batch in itertools.islice(self._batches, self._length):
            self._step(batch[0][1])
        return time.process_time() - started


def epoch_table(rounds: int = 5, slides: int = 12) -> None:
    """Print the time of an epoch with bags in memory, mapped, and read each time (from the page cache)."""
    print(f"\n### An epoch over {slides} slides (61 × 61, 1,000 patches × 1,024 float16 features)\n")
    print("| features.cache | processor seconds | against memory | target |\n|---|---|---|---|")
    torch.set_num_threads(1)
    step = Step(preset="paper")
    caches = ("memory", "mmap", "none")
    with tempfile.TemporaryDirectory() as folder:
        paths = written_cohort(Path(folder), slides=slides, side=61, patches=1000)
        running = {cache: Epochs(paths, cache, step, rounds + 1) for cache in caches}
        for epochs in running.values():
            epochs.seconds()  # fills the caches
        # One epoch of each in turn: what else the machine does then falls on all of them alike.
        measured = [{cache: running[cache].seconds() for cache in caches} for _ in range(rounds)]
    for cache in caches:
        seconds = statistics.median(one[cache] for one in measured)
        ratio = statistics.median(one[cache] / one["memory"] for one in measured)
        print(f"| {cache} | {seconds:.2f} | {ratio:.2f} | 1.15 |", flush=True)


def main() -> None:
    """Print the tables that are asked for, or every one."""
    tables = {"step": step_table, "memory": memory_table, "epoch": epoch_table}
    chosen = sys.argv[1:] or list(tables)
    if unknown := set(chosen) - set(tables):
        raise SystemExit(f"no table {', '.join(sorted(unknown))}; there are {', '.join(tables)}")
    print(describe_machine() + "\n")
    for name in chosen:
        tables[name]()


if __name__ == "__main__":
    if sys.argv[1:2] == ["peak"]:
        print(peak_of_one_step(int(sys.argv[2])))
    else:
        main()
