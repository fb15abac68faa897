"""How large and how slow an aggregator is."""

from __future__ import annotations

import time

import torch

from wsi2dmamba.models.base import Bag
from wsi2dmamba.models.registry import build_model


def parameter_count(name: str, in_dim: int, options: dict[str, object] | None = None) -> int:
    """Return the number of parameters of a model with two outputs."""
    return sum(parameter.numel() for parameter in build_model(name, in_dim, 2, options).parameters())


def bag_milliseconds(
    name: str, in_dim: int, side: int, tissue: float = 0.2, repeats: int = 3, options: dict[str, object] | None = None
) -> tuple[float, float]:
    """Measure one bag on a side × side grid of which a share holds tissue, on the CPU.

    Returns
    -------
    float, float
        Milliseconds of the fastest forward pass in evaluation, and of the fastest training pass with its backward.
    """
    generator = torch.Generator().manual_seed(0)
    occupied = torch.rand(side, side, generator=generator) < tissue
    occupied[0, 0] = occupied[-1, -1] = True
    grid = occupied.nonzero()
    bag = Bag(torch.randn(len(grid), in_dim, generator=generator), grid, (side, side))
    model = build_model(name, in_dim, 2, options)
    forward, both = [], []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        with torch.no_grad():
            model.eval()(bag)
        forward.append(time.perf_counter() - start)
        start = time.perf_counter()
        model.train()(bag).logits.sum().backward()
        both.append(time.perf_counter() - start)
    # The first round compiles and warms caches.
    return 1e3 * min(forward[1:]), 1e3 * min(both[1:])
