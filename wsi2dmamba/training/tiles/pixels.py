"""Pixels of the patches: decoded once, kept while there is room, unreadable ones named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from wsi2dmamba.core.errors import StoreError
from wsi2dmamba.core.progress import track

Image = NDArray[np.uint8]


def read_image(path: Path, px: int) -> tuple[Image, tuple[int, int]] | None:
    """Return a file as (px, px, 3) uint8 RGB and its own (height, width), or None if it is no readable image."""
    try:
        content = np.fromfile(path, dtype=np.uint8)
        decoded = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    except (OSError, cv2.error):
        return None
    if decoded is None:
        return None
    height, width = decoded.shape[:2]
    return resize(np.ascontiguousarray(decoded[..., ::-1]), px), (height, width)


def resize(image: Image, px: int) -> Image:
    """Return an (H, W, 3) image as (px, px, 3), by the rule that patch encoders resize with (`Normalisation`)."""
    if image.shape[:2] == (px, px):
        return image
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    sized = F.interpolate(pixels, (px, px), mode="bicubic", antialias=True, align_corners=False).clamp(0, 255)
    return sized[0].permute(1, 2, 0).round().to(torch.uint8).contiguous().numpy()


class Pixels:
    """The images of a run, by number.

    Parameters
    ----------
    paths
        Their files.
    px
        Side that they are resized to.
    cache_gb
        Most memory for decoded images, GiB.
    threads
        Files decoded at the same time.

    Attributes
    ----------
    sizes
        The (height, width) that files were found to have.
    """

    def __init__(self, paths: Sequence[Path], px: int, cache_gb: float, threads: int) -> None:
        self.paths = list(paths)
        self.px = px
        self.threads = threads
        self.sizes: set[tuple[int, int]] = set()
        self._kept: dict[int, Image] = {}
        self._room = int(cache_gb * 2**30) // (px * px * 3)

    def read_all(self) -> list[int]:
        """Decode every file once, keeping what fits; return the numbers of those that are no readable image."""
        bad = []
        numbers = range(len(self.paths))
        for number, decoded in track(self._decoded(numbers), len(self.paths), "read", "images"):
            if decoded is None:
                bad.append(number)
                continue
            image, size = decoded
            self.sizes.add(size)
            if len(self._kept) < self._room:
                self._kept[number] = image
        return bad

    def only(self, numbers: Sequence[int]) -> Pixels:
        """Return some of the images, numbered anew in the order given."""
        chosen = Pixels([self.paths[number] for number in numbers], self.px, 0, self.threads)
        chosen._kept = {new: self._kept[old] for new, old in enumerate(numbers) if old in self._kept}
        return chosen

    def is_kept(self, number: int) -> bool:
        """Whether an image is in memory."""
        return number in self._kept

    def batch(self, numbers: Sequence[int]) -> Tensor:
        """Return (N, px, px, 3) uint8 images.

        Raises
        ------
        StoreError
            If a file cannot be read any more.
        """
        images = {number: self._kept[number] for number in numbers if number in self._kept}
        for number, decoded in self._decoded([number for number in numbers if number not in images]):
            if decoded is None:
                raise StoreError(f"{self.paths[number]} could be read before and cannot be now")
            images[number] = decoded[0]
        return torch.from_numpy(np.stack([images[number] for number in numbers]))

    def statistics(self, numbers: Sequence[int]) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation per channel, on a scale of 0 to 1."""
        total, squares, count = np.zeros(3), np.zeros(3), 0
        for start in range(0, len(numbers), 64):
            pixels = self.batch(numbers[start : start + 64]).numpy().reshape(-1, 3) / 255.0
            total, squares, count = total + pixels.sum(0), squares + (pixels**2).sum(0), count + len(pixels)
        mean = total / count
        deviation = np.sqrt(np.maximum(squares / count - mean**2, 1e-6))
        return tuple(mean.round(6).tolist()), tuple(deviation.round(6).tolist())

    def _decoded(self, numbers: Sequence[int]) -> Iterator[tuple[int, tuple[Image, tuple[int, int]] | None]]:
        if self.threads == 1 or len(numbers) < 2:
            yield from ((number, read_image(self.paths[number], self.px)) for number in numbers)
            return
        with ThreadPoolExecutor(self.threads) as pool:
            images = pool.map(lambda number: read_image(self.paths[number], self.px), numbers)
            yield from zip(numbers, images, strict=True)
