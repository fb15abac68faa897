"""The image model, cell by cell in float64 and for one image: (3, H, W) and its parameters to logits."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.models.equations import Parameters, convolve_2d, gelu, layer_norm, linear, scan_2d, silu

CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")


def halve(P: Parameters, name: str, x: Tensor) -> Tensor:
    """3 × 3 windows around every other cell, then layer norm; x (H, W, C)."""
    weight, (height, width, _) = P[f"{name}.conv.weight"], x.shape
    rows = []
    for i in range(0, height, 2):
        row = []
        for j in range(0, width, 2):
            total = P[f"{name}.conv.bias"]
            for p in (-1, 0, 1):
                for q in (-1, 0, 1):
                    if 0 <= i + p < height and 0 <= j + q < width:
                        total = total + weight[:, :, p + 1, q + 1] @ x[i + p, j + q]
            row.append(total)
        rows.append(torch.stack(row))
    return layer_norm(P, f"{name}.norm", torch.stack(rows))


def block(P: Parameters, name: str, x: Tensor) -> Tensor:
    """One block without stochastic depth; x (H, W, C)."""
    mixer = f"{name}.mixer"
    u = linear(P, f"{mixer}.in_proj", layer_norm(P, f"{name}.mixer_norm", x))
    u = silu(convolve_2d(P, f"{mixer}.conv", u))
    y = torch.stack([scan_2d(P, f"{mixer}.scans.selective.{k}", u, corner) for k, corner in enumerate(CORNERS)]).sum(0)
    x = x + linear(P, f"{mixer}.out_proj", layer_norm(P, f"{mixer}.norm", y))
    hidden = gelu(linear(P, f"{name}.mlp.0", layer_norm(P, f"{name}.mlp_norm", x)))
    return x + linear(P, f"{name}.mlp.2", hidden)


def logits(P: Parameters, depths: tuple[int, ...], image: Tensor) -> Tensor:
    """The whole network on a (3, H, W) image."""
    x = halve(P, "stem.second", gelu(halve(P, "stem.first", image.permute(1, 2, 0))))
    for stage, depth in enumerate(depths):
        if stage:
            x = halve(P, f"downsamples.{stage - 1}", x)
        for index in range(depth):
            x = block(P, f"stages.{stage}.{index}", x)
    return linear(P, "head", layer_norm(P, "norm", x).mean((0, 1)))
