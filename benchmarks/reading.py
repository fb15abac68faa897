"""How fast patches are read, one core, and whether `tile` holds its memory.

The native path against OpenSlide patch by patch and bare JPEG decoding: everything is measured in one process on one
made slide (16,384² pixels at 0.25 µm/px, 256² JPEG tiles), the variants in turn, and the best of several rounds counts.
Rates are per second of processor time, so that what else the machine does changes them little; all variants run in
one thread. `python -m benchmarks.reading [--side N] [--rounds N]`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import psutil

from benchmarks.machine import describe_machine
from wsi2dmamba.demo.svs import SvsLayout, write_svs
from wsi2dmamba.slides.config import TileConfig, TissueConfig
from wsi2dmamba.slides.lattice import Lattice
from wsi2dmamba.slides.layout import lay_out
from wsi2dmamba.slides.native_reader import NativeReader
from wsi2dmamba.slides.openslide_reader import OpenSlideReader
from wsi2dmamba.slides.patches import iter_patches, read_patch
from wsi2dmamba.slides.reader import SlideReader, open_slide
from wsi2dmamba.slides.task import TileTask
from wsi2dmamba.slides.thumbnail import read_thumbnail
from wsi2dmamba.slides.tile import tile_slide
from wsi2dmamba.slides.tilefile import TileFile, TileGeometry
from wsi2dmamba.slides.tissue import find_tissue

MPP = 0.25

# name: patch_px, side at level 0, corner of the lattice
CASES = {
    "256 px aligned": (256, 256, 0),
    "256 px unaligned": (256, 256, 100),
    "224 px between levels": (224, 358, 0),
}


def make_slide(path: Path, side: int) -> None:
    """Write a slide full of tissue-like texture (a repeated, shifted square: making it is not what is measured)."""
    rng = np.random.default_rng(0)
    cells = cv2.GaussianBlur(rng.random((1024, 1024)).astype(np.float32), (0, 0), 3)
    cells = (cells - cells.min()) / (cells.max() - cells.min())
    fine = rng.normal(0, 6, (1024, 1024, 1))
    stains = np.array([214, 148, 186]) + cells[..., None] * (np.array([104, 62, 140]) - np.array([214, 148, 186]))
    square = np.clip(stains + fine, 0, 255).astype(np.uint8)
    square = np.tile(square, (2, 2, 1))
    glass = side // 8

    def source(x: int, y: int, width: int, height: int) -> np.ndarray:
        if min(x, y) < glass or max(x, y) > side - glass:
            return np.full((height, width, 3), 244, dtype=np.uint8)
        left, top = (x * 7 // 5) % 1024, (y * 9 // 7) % 1024
        return square[top : top + height, left : left + width]

    write_svs(path, (side, side), source, SvsLayout(mpp=MPP, magnification=40))


def all_patches(size: int, patch_px: int, side: int, corner: int) -> TileFile:
    """Return every whole patch of the slide."""
    count = (size - corner) // side
    lattice = Lattice((corner, corner), side, (count, count))
    grid = np.argwhere(np.ones(lattice.shape, dtype=bool)).astype(np.int32)
    geometry = TileGeometry("s", MPP, MPP * side / patch_px, patch_px, side, 0, lattice, (size, size))
    return TileFile(lattice.corners(grid), grid, np.ones(len(grid), np.float32), geometry)


def rates(variants: dict[str, Callable[[], int]], rounds: int) -> dict[str, float]:
    """Return the best number of patches per second of each variant; they take turns in every round."""
    best = dict.fromkeys(variants, 0.0)
    for _ in range(rounds):
        for name, read in variants.items():
            started = time.process_time()
            count = read()
            best[name] = max(best[name], count / (time.process_time() - started))
    return best


def one_by_one(path: Path, tiles: TileFile) -> int:
    """Read patch by patch through OpenSlide, as most tools do."""
    with OpenSlideReader(path) as reader:
        for x, y in tiles.coords.tolist():
            read_patch(reader, x, y, tiles.geometry)
    return len(tiles)


def in_bulk(open_: Callable[[Path], SlideReader], path: Path, tiles: TileFile) -> int:
    """Read in lattice order, as `extract` does."""
    with open_(path) as reader:
        return sum(len(batch.patches) for batch in iter_patches(reader, tiles))


def bare_decoding(path: Path) -> int:
    """Decode every stored tile of level 0 and do nothing with it."""
    with NativeReader(path) as reader:
        page = reader.pages[0]
        for index in range(page.across * page.down):
            data = page.stored(index)
            if data is not None:
                page.decode(data, index)
        return page.across * page.down


def tissue_seconds(path: Path, rounds: int) -> float:
    """Return the best time for tissue and lattice of the slide."""
    config = TileConfig(slides=(path,), out=Path("unused"), mpp=0.5)
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        with open_slide(path) as reader:
            thumbnail = read_thumbnail(reader, MPP)
            tissue = find_tissue(thumbnail.pixels, thumbnail.mpp, thumbnail.downsample, TissueConfig())
            tiles = lay_out("s", MPP, reader.levels[0].size, tissue, config)
        best = min(best, time.process_time() - started)
        assert tiles is not None
    return best


def tile_memory(folder: Path, slides: int = 200) -> tuple[int, int]:
    """Return this process's resident bytes after 20 and after all of `slides` slides, tiled one after another."""
    path = folder / "small.svs"
    make_slide(path, 2048)
    config = TileConfig(slides=(path,), out=folder / "tiled", mpp=0.5)
    process, early = psutil.Process(), 0
    for done in range(1, slides + 1):
        tile_slide(TileTask(f"slide-{done}", path, config))
        if done == 20:
            early = process.memory_info().rss
    return early, process.memory_info().rss


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=16_384)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    print(describe_machine() + "\n")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bench.svs"
        make_slide(path, options.side)
        megabytes = path.stat().st_size / 1e6
        print(f"One {options.side}² slide, JPEG quality 85, {megabytes:.0f} MB; patches per second, one core.\n")
        print("| patches | OpenSlide one by one | native | native / one by one | of bare decoding |")
        print("|---|---|---|---|---|")
        bare = 0.0
        for name, (patch_px, side, corner) in CASES.items():
            tiles = all_patches(options.side, patch_px, side, corner)
            variants: dict[str, Callable[[], int]] = {
                "bare": lambda: bare_decoding(path),
                "single": lambda tiles=tiles: one_by_one(path, tiles),  # type: ignore[misc]
                "native": lambda tiles=tiles: in_bulk(NativeReader, path, tiles),  # type: ignore[misc]
            }
            best = rates(variants, options.rounds)
            native, single = best["native"], best["single"]
            bare = max(bare, best["bare"])
            share = f"{native / best['bare']:.0%}" if side == 256 else "—"
            print(f"| {name} | {single:,.0f} | {native:,.0f} | {native / single:.1f}x | {share} |", flush=True)
        print(f"\nBare decoding of the stored tiles: {bare:,.0f} per second.")
        print(f"Tissue and lattice of this slide: {tissue_seconds(path, options.rounds):.2f} s of one processor.")
        early, late = tile_memory(Path(folder))
        sizes = f"{early >> 20} and {late >> 20} MiB ({late / early - 1:+.1%})"
        print(f"Resident memory after 20 and 200 tiled slides: {sizes}.")


if __name__ == "__main__":
    main()
