"""Extraction against its two limits, reading and encoding; the rate of `texture`; memory over 200 slides.

Run: python -m benchmarks.extraction
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import torch

from benchmarks.machine import describe_machine
from wsi2dmamba.core.workers import default_workers
from wsi2dmamba.demo.svs import SvsLayout, region_source, write_svs
from wsi2dmamba.features.chunks import CHUNK_PATCHES, Chunk
from wsi2dmamba.features.device import DeviceEncoder
from wsi2dmamba.features.encoders import Encoder, EncoderInfo, Normalisation, load_encoder
from wsi2dmamba.features.feed import ChunkFeed
from wsi2dmamba.features.jobs import Extraction, SlideJob
from wsi2dmamba.features.lane import Lane
from wsi2dmamba.slides.lattice import Lattice
from wsi2dmamba.slides.tilefile import SlideStamp, TileFile, TileGeometry, read_tile_file, write_tile_file

PATCH_PX = 256
REPEATS = 5


class Costless(Encoder):
    """Looks at a few pixels."""

    info = EncoderInfo("costless", 48, None, None, "1")

    def preprocess(self, patches: torch.Tensor) -> torch.Tensor:
        return patches[:, :4, :4]

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return inputs.flatten(1).to(torch.float32)


class Transformer(Encoder):
    """A ViT-S/16 with random weights: what a published encoder costs."""

    def __init__(self) -> None:
        super().__init__()
        self.normalisation = Normalisation(224)
        self.patches = torch.nn.Conv2d(3, 384, 16, stride=16)
        layer = torch.nn.TransformerEncoderLayer(384, 6, 1536, dropout=0, batch_first=True, norm_first=True)
        self.blocks = torch.nn.TransformerEncoder(layer, 12, enable_nested_tensor=False)
        self.info = EncoderInfo("vit-s", 384, 0.5, 224, "random")

    def preprocess(self, patches: torch.Tensor) -> torch.Tensor:
        return self.normalisation(patches)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.blocks(self.patches(inputs).flatten(2).transpose(1, 2)).mean(1)


def make_slide(folder: Path, name: str, side: int, seed: int = 0) -> SlideJob:
    """Write a slide of tissue-like noise and its tile file: every patch kept."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(90, 230, size=(side // 8, side // 8, 3)).astype(np.uint8)
    image = np.kron(coarse, np.ones((8, 8, 1), dtype=np.uint8))
    slide = folder / f"{name}.svs"
    write_svs(slide, (side, side), region_source(image), SvsLayout(mpp=0.5))
    count = side // PATCH_PX
    lattice = Lattice((0, 0), PATCH_PX, (count, count))
    grid = np.argwhere(np.ones((count, count), dtype=bool)).astype(np.int32)
    status = slide.stat()
    tiles = TileFile(
        coords=lattice.corners(grid),
        grid=grid,
        tissue=np.ones(len(grid), dtype=np.float32),
        geometry=TileGeometry(name, 0.5, 0.5, PATCH_PX, PATCH_PX, 0, lattice, (side, side)),
        stamp=SlideStamp(str(slide), status.st_size, status.st_mtime_ns),
        settings=json.dumps({}),
    )
    write_tile_file(folder / f"{name}.h5", tiles)
    return SlideJob(name, folder / f"{name}.h5", folder / "out" / f"{name}.h5")


def as_another(job: SlideJob, index: int) -> SlideJob:
    """Return the same slide under another id."""
    return replace(job, slide_id=f"slide-{index}", feature_path=job.feature_path.with_name(f"slide-{index}.h5"))


def chunks_of(jobs: list[SlideJob]) -> Iterator[tuple[int, Chunk]]:
    """Yield the chunks that extraction reads, in its order."""
    for job in jobs:
        tiles = read_tile_file(job.tile_path)
        path = tiles.stamp.path if tiles.stamp else ""
        for start in range(0, len(tiles), CHUNK_PATCHES):
            yield start, Chunk(path, tiles.geometry, tiles.coords[start : start + CHUNK_PATCHES])


def reading_rate(feed: ChunkFeed, jobs: list[SlideJob]) -> float:
    """Return patches per second when nothing is done with them."""
    started, patches = time.perf_counter(), 0
    for fed in feed.stream(chunks_of(jobs)):
        assert fed.result is not None and fed.result.patches is not None
        patches += len(fed.result.patches)
    return patches / (time.perf_counter() - started)


def extraction_rate(feed: ChunkFeed, encoder: Encoder, jobs: list[SlideJob], batch_size: int = 64) -> float:
    """Return patches per second from slides to finished feature files."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = "float16" if device.type == "cuda" else "float32"
    lane = Lane(DeviceEncoder(encoder, device, precision, batch_size), feed, Extraction("b", "1", "{}"), precision)
    started, patches = time.perf_counter(), 0
    for outcome in lane.run(jobs):
        assert outcome.value is not None, outcome.error
        patches += outcome.value.patches
    return patches / (time.perf_counter() - started)


def memory_rate(encoder: Encoder, batches: int, batch_size: int = 64) -> float:
    """Return patches per second of the encoder on batches already in memory."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = "float16" if device.type == "cuda" else "float32"
    target = DeviceEncoder(encoder, device, precision, batch_size)
    batch = np.random.default_rng(0).integers(0, 255, (batch_size, PATCH_PX, PATCH_PX, 3), dtype=np.uint8)
    target.encode(batch).cpu()
    started = time.perf_counter()
    results = [target.encode(batch) for _ in range(batches)]
    torch.stack(results).cpu()
    return batches * batch_size / (time.perf_counter() - started)


def resident_bytes() -> int:
    """Return the resident memory of this process and its children."""
    me = psutil.Process()
    return sum(process.memory_info().rss for process in [me, *me.children(recursive=True)])


def measure_throughput(folder: Path, workers: int) -> None:
    """Print the ratios to reading and to encoding, medians of interleaved repeats."""
    slides = [make_slide(folder, f"slide-{index}", 4096, index) for index in range(2)]
    jobs = [as_another(slides[index % 2], index) for index in range(8)]
    costless, pairs = Costless(), []
    with ChunkFeed(workers) as feed:
        reading_rate(feed, jobs)
        for _ in range(REPEATS):
            pairs.append((reading_rate(feed, jobs), extraction_rate(feed, costless, jobs)))
    read, extracted = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    print(f"| reading, {workers} processes | {read:,.0f} patches/s | |")
    print(f"| extraction, encoder that costs nothing | {extracted:,.0f} patches/s | {ratio:.0%} of reading |")
    transformer = Transformer().eval()
    few, pairs = [make_slide(folder, f"small-{index}", 2048, index) for index in range(2)], []
    with ChunkFeed(max(workers // 4, 1)) as feed:
        extraction_rate(feed, transformer, few[:1])
        for _ in range(3):
            pairs.append((memory_rate(transformer, 2), extraction_rate(feed, transformer, few)))
    memory, extracted = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    print(f"| ViT-S/16 on batches in memory | {memory:,.1f} patches/s | |")
    print(f"| extraction with ViT-S/16 | {extracted:,.1f} patches/s | {ratio:.0%} of memory |")


def measure_texture() -> None:
    """Print the rate of the embedded encoder on one thread."""
    torch.set_num_threads(1)
    encoder = load_encoder("texture")
    batch = torch.randint(0, 255, (128, PATCH_PX, PATCH_PX, 3), dtype=torch.uint8)
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        encoder.encode(batch)
        seconds.append(time.perf_counter() - started)
    print(f"| texture, one thread, {PATCH_PX} px | {128 / min(seconds):,.0f} patches/s | |")
    torch.set_num_threads(default_workers())


def measure_memory(folder: Path, slides: int = 200) -> None:
    """Print how much memory grows between the 20th and the last of many slides."""
    job = make_slide(folder, "again", 1024)
    jobs = [as_another(job, index) for index in range(slides)]
    early = 0
    with ChunkFeed(2) as feed:
        target = DeviceEncoder(Costless(), torch.device("cpu"), "float32", 64)
        lane = Lane(target, feed, Extraction("b", "1", "{}"), "float32")
        for done, _ in enumerate(lane.run(jobs), start=1):
            if done == 20:
                early = resident_bytes()
        late = resident_bytes()
    sizes = f"{early >> 20} and {late >> 20} MiB"
    print(f"| resident memory after 20 and {slides} slides | {sizes} | {late / early - 1:+.1%} |")


def main() -> None:
    """Print one table."""
    print(describe_machine() + "\n\n| | rate | ratio |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure_texture()
        measure_throughput(folder, default_workers())
        measure_memory(folder)


if __name__ == "__main__":
    main()
