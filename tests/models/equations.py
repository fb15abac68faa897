"""The papers' equations cell by cell in float64: slow, obvious, and sharing no code with the models.

`P` is always the dictionary of a model's parameters; a prefix says whose.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from wsi2dmamba.models.base import Bag

Parameters = dict[str, Tensor]
Mixer = Callable[[Parameters, str, Tensor, int], Tensor]


def silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def softplus(x: Tensor) -> Tensor:
    return torch.log1p(torch.exp(x))


def linear(P: Parameters, name: str, x: Tensor) -> Tensor:
    y = x @ P[f"{name}.weight"].T
    return y + P[f"{name}.bias"] if f"{name}.bias" in P else y


def layer_norm(P: Parameters, name: str, x: Tensor) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    scaled = centered / torch.sqrt((centered**2).mean(-1, keepdim=True) + 1e-5)
    return scaled * P[f"{name}.weight"] + P[f"{name}.bias"]


def rms_norm(P: Parameters, name: str, x: Tensor) -> Tensor:
    return x / torch.sqrt((x**2).mean(-1, keepdim=True) + 1e-5) * P[f"{name}.weight"]


def convolve_2d(P: Parameters, name: str, x: Tensor) -> Tensor:
    """Depthwise, centred, zero outside; x (H, W, C)."""
    weight, (height, width, _) = P[f"{name}.weight"], x.shape
    half, bias = weight.shape[-1] // 2, P.get(f"{name}.bias", torch.zeros_like(x[0, 0]))
    rows = []
    for i in range(height):
        row = []
        for j in range(width):
            total = bias
            for p in range(-half, half + 1):
                for q in range(-half, half + 1):
                    if 0 <= i + p < height and 0 <= j + q < width:
                        total = total + weight[:, 0, p + half, q + half] * x[i + p, j + q]
            row.append(total)
        rows.append(torch.stack(row))
    return torch.stack(rows)


def convolve_1d(P: Parameters, name: str, x: Tensor) -> Tensor:
    """Depthwise and causal; x (L, C)."""
    weight = P[f"{name}.weight"]
    taps = weight.shape[-1]
    out = []
    for t in range(len(x)):
        total = P[f"{name}.bias"]
        for k in range(taps):
            if t - k >= 0:
                total = total + weight[:, 0, taps - 1 - k] * x[t - k]
        out.append(total)
    return torch.stack(out)


def selective(P: Parameters, name: str, u: Tensor, constant: str = "") -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Δ (…, C), A (C, N), B and C (…, N) of tokens u (…, C); `constant` is the one of B and C that is 1."""
    rank, states = P[f"{name}.dt_proj.weight"].shape[1], P[f"{name}.A_log"].shape[1]
    projected = linear(P, f"{name}.x_proj", u)
    delta = softplus(linear(P, f"{name}.dt_proj", projected[..., :rank]))
    first, second = projected[..., rank : rank + states], projected[..., rank + states :]
    if constant == "B":
        first, second = torch.ones_like(first), first
    elif constant == "C":
        second = torch.ones_like(first)
    return delta, -torch.exp(P[f"{name}.A_log"]), first, second


def scan_1d(P: Parameters, name: str, u: Tensor, reverse: bool = False, constant: str = "") -> Tensor:
    """h' = exp(Δ·A)·h + Δ·B·u, y = C·h + D·u, token by token; u (L, C)."""
    delta, A, B, C = selective(P, name, u, constant)
    y: list[Tensor] = [u[0]] * len(u)
    h = torch.zeros_like(A)
    for t in reversed(range(len(u))) if reverse else range(len(u)):
        h = torch.exp(delta[t][:, None] * A) * h + (delta[t] * u[t])[:, None] * B[t]
        y[t] = (h * C[t]).sum(-1) + P[f"{name}.D"] * u[t]
    return torch.stack(y)


def scan_2d(P: Parameters, name: str, u: Tensor, corner: str, skip: bool = True, blank: Tensor | None = None) -> Tensor:
    """DESIGN §4: g along rows, then h along columns with the same a; u (H, W, C)."""
    height, width = u.shape[:2]
    delta, A, B, C = selective(P, name, u)
    if blank is not None:
        delta = torch.where(blank[..., None], 0.0, delta)
    rows = range(height) if corner.startswith("top") else range(height - 1, -1, -1)
    cols = range(width) if corner.endswith("left") else range(width - 1, -1, -1)
    above = [torch.zeros_like(A)] * width
    y = {}
    for i in rows:
        g = torch.zeros_like(A)
        for j in cols:
            a = torch.exp(delta[i, j][:, None] * A)
            g = a * g + (delta[i, j] * u[i, j])[:, None] * B[i, j]
            above[j] = a * above[j] + g
            y[i, j] = (above[j] * C[i, j]).sum(-1) + (P[f"{name}.D"] * u[i, j] if skip else 0)
    return torch.stack([torch.stack([y[i, j] for j in range(width)]) for i in range(height)])


def attention_pool(P: Parameters, tokens: Tensor, name: str = "head") -> Tensor:
    hidden = torch.tanh(linear(P, f"{name}.attention.value", tokens))
    if f"{name}.attention.gate.weight" in P:
        hidden = hidden * torch.sigmoid(linear(P, f"{name}.attention.gate", tokens))
    scores = torch.exp(linear(P, f"{name}.attention.score", hidden))
    return linear(P, f"{name}.classifier", (scores / scores.sum() * tokens).sum(0))


def project(P: Parameters, bag: Bag) -> Tensor:
    return gelu(linear(P, "project.0", bag.features))


def on_raster(P: Parameters, bag: Bag, mixer: Mixer, layers: int) -> Tensor:
    """Logits of the frame of all raster models."""
    tokens = project(P, bag)
    cells = {tuple(cell): token for cell, token in zip(bag.grid.tolist(), tokens, strict=True)}
    height, width = bag.grid_shape
    empty = P["background"]
    raster = torch.stack([torch.stack([cells.get((i, j), empty) for j in range(width)]) for i in range(height)])
    for layer in range(layers):
        name = f"blocks.{layer}"
        raster = raster + mixer(P, f"{name}.mixer", rms_norm(P, f"{name}.norm", raster), layer)
    patches = torch.stack([raster[i, j] for i, j in bag.grid.tolist()])
    return attention_pool(P, layer_norm(P, "norm", patches))


def on_list(P: Parameters, bag: Bag, tokens: Tensor, mixer: Mixer, layers: int) -> Tensor:
    """Tokens, in row-major order, after the blocks and the norm of all list models."""
    order = sorted(range(len(bag)), key=lambda k: tuple(bag.grid[k].tolist()))
    tokens = torch.stack([tokens[k] for k in order])
    for layer in range(layers):
        name = f"blocks.{layer}"
        tokens = tokens + mixer(P, f"{name}.mixer", layer_norm(P, f"{name}.norm", tokens), layer)
    return layer_norm(P, "norm", tokens)
