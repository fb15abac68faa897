"""Bags: the features of a slide as the aggregators take them, read once or each time."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from wsi2dmamba.cohort.cases import Case
from wsi2dmamba.core.errors import StoreError
from wsi2dmamba.features.store import FeatureFile, is_foreign, read_features
from wsi2dmamba.models.base import Bag
from wsi2dmamba.training.config import FeatureSource
from wsi2dmamba.training.mapped import MappedFeatures, map_blocks


@dataclass(frozen=True)
class Sample:
    """What one forward pass sees: a case, and those of its slides that are pooled together."""

    case: Case
    slide_ids: tuple[str, ...]


def samples_of(cases: Iterable[Case], several_slides: str) -> list[Sample]:
    """Return one sample per case (``join``) or one per slide (``average``)."""
    if several_slides == "join":
        return [Sample(case, case.slide_ids) for case in cases]
    return [Sample(case, (slide,)) for case in cases for slide in case.slide_ids]


class BagStore:
    """The bags of a run, by slide id.

    Parameters
    ----------
    paths
        Slide id → feature file.
    source
        How to read and hold them.

    Notes
    -----
    Bags are kept as stored (float16 halves the memory) and handed out as float32. When `cache_gb` is full, further
    bags are read each time; what is already kept stays, since an epoch goes through all of them in random order.
    """

    def __init__(self, paths: dict[str, Path], source: FeatureSource) -> None:
        self.paths = paths
        self.source = source
        self._kept: dict[str, Bag] = {}
        self._mapped: dict[str, MappedFeatures] = {}
        self._free_bytes = int(source.cache_gb * 2**30) if source.cache == "memory" else 0
        self._lock = threading.Lock()

    def bag(self, slide_id: str) -> Bag:
        """Return the bag of a slide, float32.

        Raises
        ------
        StoreError
            If the file cannot be read, has no patch, or holds a NaN or infinite feature.
        """
        stored = self._kept.get(slide_id)
        if stored is None and slide_id in self._mapped:
            mapped = self._mapped[slide_id]
            stored = Bag(torch.from_numpy(mapped.read()), mapped.grid, mapped.grid_shape)
        elif stored is None:
            stored = self._read(slide_id)
            self._keep(slide_id, stored)
        return stored.to("cpu", torch.float32)

    def bags(self, sample: Sample) -> list[Bag]:
        """Return the bags of a sample."""
        return [self.bag(slide_id) for slide_id in sample.slide_ids]

    def is_kept(self, slide_id: str) -> bool:
        """Whether the bag is in memory."""
        return slide_id in self._kept

    def _read(self, slide_id: str) -> Bag:
        path = self.paths[slide_id]
        return bag_of(read_features(path, self.source.on_collision, self.source.encoder), path)

    def _keep(self, slide_id: str, bag: Bag) -> None:
        if self.source.cache == "mmap":
            # Read once in full, so everything about the file has been checked.
            blocks = None if is_foreign(self.paths[slide_id]) else map_blocks(self.paths[slide_id])
            if blocks is not None:
                self._mapped[slide_id] = MappedFeatures(blocks, bag.grid, bag.grid_shape)
            return
        size = bag.features.nbytes + bag.grid.nbytes
        with self._lock:
            if slide_id not in self._kept and size <= self._free_bytes:
                self._free_bytes -= size
                self._kept[slide_id] = bag


def bag_of(file: FeatureFile, path: Path) -> Bag:
    """Return the patches of a feature file as a bag on the slide's own bounding box.

    Raises
    ------
    StoreError
        If there is no patch, or a feature is NaN or infinite.
    """
    if len(file) == 0:
        raise StoreError(f"{path} holds no patch; leave the slide out of the table or tile it with a milder filter")
    check_finite(file.features, path)
    grid = torch.from_numpy(file.tiles.grid.astype(np.int64))
    grid -= grid.amin(dim=0)
    rows, cols = (int(size) + 1 for size in grid.amax(dim=0))
    return Bag(torch.from_numpy(np.ascontiguousarray(file.features)), grid, (rows, cols))


def check_finite(features: np.ndarray, path: Path) -> None:
    """Refuse NaN and infinite features: one of them would silently spoil every weight.

    Raises
    ------
    StoreError
        Naming the file and how many patches are affected.
    """
    # The sum is NaN or infinite when any value is; the exact search runs only then.
    if np.isfinite(features.sum(dtype=np.float64)):
        return
    bad = int((~np.isfinite(features)).any(axis=1).sum())
    if bad:
        raise StoreError(f"{path}: {bad} of {len(features)} patches have NaN or infinite features; extract it again")
