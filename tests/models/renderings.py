"""Every raster and list system, rendered from `equations`: parameters and bag to logits."""

from __future__ import annotations

import cmath
import math
from typing import Any

import torch
from torch import Tensor

from tests.models.equations import (
    Parameters,
    attention_pool,
    convolve_1d,
    convolve_2d,
    gelu,
    layer_norm,
    linear,
    on_list,
    on_raster,
    project,
    scan_1d,
    scan_2d,
    selective,
    silu,
    softplus,
)
from wsi2dmamba.models.base import Bag

CORNERS = ("top-left", "top-right", "bottom-left", "bottom-right")


def two_d_mamba(
    P: Parameters, name: str, x: Tensor, layer: int, blank: Tensor | None = None, corners: int = 1
) -> Tensor:
    u, z = linear(P, f"{name}.in_proj", x).chunk(2, -1)
    u = silu(convolve_2d(P, f"{name}.conv", u))
    starts = CORNERS[:corners]
    if f"{name}.selective.1.D" in P:
        y = sum(scan_2d(P, f"{name}.selective.{k}", u, corner, blank=blank) for k, corner in enumerate(starts))
    else:
        shared = f"{name}.selective.0"
        y = sum(scan_2d(P, shared, u, corner, skip=False, blank=blank) for corner in starts) + P[f"{shared}.D"] * u
    return linear(P, f"{name}.out_proj", y * silu(z))


def lines(P: Parameters, name: str, u: Tensor) -> Tensor:
    """SS2D's four routes over u (H, W, C)."""
    height, width, channels = u.shape
    down = u.transpose(0, 1)
    by_rows, by_cols = u.reshape(-1, channels), down.reshape(-1, channels)
    y = scan_1d(P, f"{name}.0", by_rows) + scan_1d(P, f"{name}.2", by_rows, reverse=True)
    t = scan_1d(P, f"{name}.1", by_cols) + scan_1d(P, f"{name}.3", by_cols, reverse=True)
    return y.reshape(u.shape) + t.reshape(width, height, channels).transpose(0, 1)


def ss2d(P: Parameters, name: str, x: Tensor, layer: int, corners: bool = False) -> Tensor:
    u, z = linear(P, f"{name}.in_proj", x).chunk(2, -1)
    u = silu(convolve_2d(P, f"{name}.conv", u))
    sets = f"{name}.scans.selective"
    y = sum(scan_2d(P, f"{sets}.{k}", u, c) for k, c in enumerate(CORNERS)) if corners else lines(P, sets, u)
    return linear(P, f"{name}.out_proj", layer_norm(P, f"{name}.norm", y) * silu(z))


def two_d_vmamba(P: Parameters, name: str, x: Tensor, layer: int) -> Tensor:
    return ss2d(P, name, x, layer, corners=True)


def v2m(P: Parameters, name: str, x: Tensor, layer: int) -> Tensor:
    def line(stage: str, u: Tensor, gate: Tensor, constant: str) -> Tensor:
        u = silu(convolve_1d(P, f"{name}.{stage}.conv", u))
        return scan_1d(P, f"{name}.{stage}.selective", u, constant=constant) * silu(gate)

    def turn(t: Tensor) -> Tensor:  # a quarter to the left: the last column becomes the first row
        return t.transpose(0, 1).flip(0)

    u, z = linear(P, f"{name}.in_proj", x).chunk(2, -1)
    total = torch.zeros_like(u)
    for quarter in range(4):
        v, gate = u, z
        for _ in range(quarter):
            v, gate = turn(v), turn(gate)
        v = torch.stack([line("rows", v[i], gate[i], "C") for i in range(len(v))])
        v = torch.stack([line("cols", v[:, j], gate[:, j], "B") for j in range(v.shape[1])], dim=1)
        for _ in range(-quarter % 4):
            v = turn(v)
        total = total + v / 4
    return linear(P, f"{name}.out_proj", total)


def mamba2d(P: Parameters, name: str, x: Tensor, layer: int) -> Tensor:
    u = gelu(linear(P, f"{name}.in_proj", x))
    rank, states = P[f"{name}.dt_top.weight"].shape[1], P[f"{name}.A_top_log"].shape[1]
    top, left, B, C = linear(P, f"{name}.x_proj", u).split([rank, rank, states, states], -1)
    dt, dl = softplus(linear(P, f"{name}.dt_top", top)), softplus(linear(P, f"{name}.dt_left", left))
    A_top, A_left = -torch.exp(P[f"{name}.A_top_log"]), -torch.exp(P[f"{name}.A_left_log"])
    h: dict[tuple[int, int], Tensor] = {}
    rows = []
    for i in range(x.shape[0]):
        row = []
        for j in range(x.shape[1]):
            from_top = (dt[i, j] * u[i, j])[:, None] * B[i, j]
            from_left = (dl[i, j] * u[i, j])[:, None] * B[i, j]
            if i:
                from_top = from_top + torch.exp(dt[i, j][:, None] * A_top) * h[i - 1, j]
            if j:
                from_left = from_left + torch.exp(dl[i, j][:, None] * A_left) * h[i, j - 1]
            h[i, j] = from_left if i == 0 else from_top if j == 0 else (from_top + from_left) / 2
            row.append((h[i, j] * C[i, j]).sum(-1) + P[f"{name}.D"] * u[i, j])
        rows.append(torch.stack(row))
    return linear(P, f"{name}.out_proj", gelu(torch.stack(rows)))


def spatial_mamba(P: Parameters, name: str, x: Tensor, layer: int) -> Tensor:
    height, width, _ = x.shape
    u, z = linear(P, f"{name}.in_proj", x).chunk(2, -1)
    u = silu(convolve_2d(P, f"{name}.conv", u))
    delta, A, B, C = selective(P, f"{name}.scans.selective", u)
    state, h = torch.zeros(u.shape[-1], dtype=u.dtype), {}
    for i in range(height):
        for j in range(width):
            state = torch.exp(delta[i, j] * A[:, 0]) * state + delta[i, j] * u[i, j] * B[i, j, 0]
            h[i, j] = state
    rows = []
    for i in range(height):
        row = []
        for j in range(width):
            fused = torch.zeros_like(state)
            for k, dilation in enumerate((1, 3, 5)):
                for p in range(3):
                    for q in range(3):
                        r = min(max(i + (p - 1) * dilation, 0), height - 1)
                        s = min(max(j + (q - 1) * dilation, 0), width - 1)
                        fused = fused + P[f"{name}.scans.alpha"][k] * P[f"{name}.scans.kernels"][k, :, p, q] * h[r, s]
            row.append(C[i, j, 0] * fused + P[f"{name}.scans.selective.D"] * u[i, j])
        rows.append(torch.stack(row))
    return linear(P, f"{name}.out_proj", layer_norm(P, f"{name}.norm", torch.stack(rows)) * silu(z))


def windows_of(height: int, width: int, side: int) -> list[list[tuple[int, int]]]:
    """Cells of every window of the raster padded up to whole windows, row-major both."""
    high, wide = math.ceil(height / side), math.ceil(width / side)
    return [
        [(a * side + i, b * side + j) for i in range(side) for j in range(side)]
        for a in range(high)
        for b in range(wide)
    ]


def hi_mamba(P: Parameters, name: str, x: Tensor, layer: int, side: int = 4) -> Tensor:
    u, z = linear(P, f"{name}.in_proj", x).chunk(2, -1)
    u = silu(convolve_2d(P, f"{name}.conv", u))
    turned, reverse = layer % 2 == 1, layer % 4 >= 2
    v = u.transpose(0, 1) if turned else u
    height, width, channels = v.shape
    windows = windows_of(height, width, side)
    zero = torch.zeros(channels, dtype=u.dtype)
    content = [torch.stack([v[i, j] if i < height and j < width else zero for i, j in w]) for w in windows]
    region = scan_1d(P, f"{name}.scans.region", torch.stack([w.mean(0) for w in content]), reverse)
    out = {}
    for k, window in enumerate(windows):
        local = scan_1d(P, f"{name}.scans.local", content[k], reverse)
        out |= {cell: local[n] + region[k] for n, cell in enumerate(window)}
    y = torch.stack([torch.stack([out[i, j] for j in range(width)]) for i in range(height)])
    y = y.transpose(0, 1) if turned else y
    return linear(P, f"{name}.out_proj", layer_norm(P, f"{name}.norm", y) * silu(z))


def mamba_in_mamba(P: Parameters, name: str, x: Tensor, layer: int, side: int = 4) -> Tensor:
    height, width, _ = x.shape
    words = linear(P, f"{name}.to_words", x)
    windows = windows_of(height, width, side)
    zero = torch.zeros(words.shape[-1], dtype=x.dtype)
    sentences, inside = [], []
    for window in windows:
        flat = torch.cat([words[i, j] if i < height and j < width else zero for i, j in window])
        normed = layer_norm(P, f"{name}.inner_norm", flat).reshape(side, side, -1)
        flat = flat + ss2d(P, f"{name}.inner", normed, 0).reshape(-1)
        inside.append(flat.reshape(side * side, -1))
        together = linear(P, f"{name}.to_sentence", layer_norm(P, f"{name}.words_norm", flat))
        sentences.append(layer_norm(P, f"{name}.sentence_norm", together))
    outer = torch.stack(sentences).reshape(math.ceil(height / side), math.ceil(width / side), -1)
    outer = outer + ss2d(P, f"{name}.outer", layer_norm(P, f"{name}.outer_norm", outer), 0)
    regions = outer.reshape(len(windows), -1)
    out = {}
    for k, window in enumerate(windows):
        tokens = linear(P, f"{name}.from_words", inside[k]) + regions[k]
        out |= {cell: tokens[n] for n, cell in enumerate(window)}
    return torch.stack([torch.stack([out[i, j] for j in range(width)]) for i in range(height)])


def mamba(P: Parameters, name: str, x: Tensor, second: str) -> Tensor:
    """A Mamba block over x (L, C), with a second branch in another order: "", "backward" or "stride"."""
    u, z = linear(P, f"{name}.in_proj", x).chunk(2, -1)

    def branch(index: int, tokens: Tensor) -> Tensor:
        tokens = silu(convolve_1d(P, f"{name}.branches.{index}.conv", tokens))
        return scan_1d(P, f"{name}.branches.{index}.selective", tokens)

    y = branch(0, u)
    if second == "backward":
        y = y + branch(1, u.flip(0)).flip(0)
    elif second == "stride":
        filled = math.ceil(len(u) / 10) * 10
        order = [k for start in range(10) for k in range(start, filled, 10)]
        zero = torch.zeros_like(u[0])
        strided = branch(1, torch.stack([u[k] if k < len(u) else zero for k in order]))
        y = y + torch.stack([strided[order.index(k)] for k in range(len(u))])
    return linear(P, f"{name}.out_proj", y * silu(z))


def s4d(P: Parameters, name: str, x: Tensor, layer: int) -> Tensor:
    """h' = Ā·h + B̄·u with Ā = exp(Δ·A), B̄ = (Ā − 1)/A, token by token, in complex numbers."""
    A = torch.complex(-torch.exp(P[f"{name}.log_A_real"]), P[f"{name}.A_imag"])
    decay = torch.exp(torch.exp(P[f"{name}.log_dt"])[:, None] * A)
    C = torch.complex(P[f"{name}.C"][..., 0], P[f"{name}.C"][..., 1])
    h, out = torch.zeros_like(A), []
    for u in x:
        h = decay * h + (decay - 1) / A * u[:, None]
        out.append(2 * (C * h).real.sum(-1) + P[f"{name}.D"] * u)
    first, second = linear(P, f"{name}.out", gelu(torch.stack(out))).chunk(2, -1)
    return first * torch.sigmoid(second)


def sines(bag: Bag, dim: int) -> Tensor:
    quarter = dim // 4
    positions = []
    for cell in bag.grid.tolist():
        angles = [place * 10_000 ** (-k / quarter) for place in cell for k in range(quarter)]
        waves = [cmath.exp(1j * angle) for angle in angles]
        positions.append([w.imag for w in waves] + [w.real for w in waves])
    return torch.tensor(positions, dtype=torch.float64)


RASTER: dict[str, tuple[Any, int]] = {
    "2dmamba": (two_d_mamba, 1),
    "2dvmamba": (two_d_vmamba, 1),
    "vmamba": (ss2d, 1),
    "v2m": (v2m, 1),
    "mamba2d": (mamba2d, 1),
    "spatial-mamba": (spatial_mamba, 1),
    "hi-mamba": (hi_mamba, 4),
    "mamba-in-mamba": (mamba_in_mamba, 1),
}
LIST = {"mambamil": "", "vim": "backward", "srmamba": "stride"}


def logits(name: str, P: Parameters, bag: Bag) -> Tensor:
    """Return the logits of a raster or list system from its equations."""
    if name in RASTER:
        mixer, layers = RASTER[name]
        return on_raster(P, bag, mixer, layers)
    tokens = project(P, bag)
    if name == "s4mil":
        return linear(P, "head.classifier", on_list(P, bag, tokens, s4d, 1).amax(0))
    if name == "vim":
        tokens = tokens + sines(bag, tokens.shape[1]) * P["position_scale"]
    mixed = on_list(P, bag, tokens, lambda P, where, x, layer: mamba(P, where, x, LIST[name]), 2)
    return attention_pool(P, mixed)
