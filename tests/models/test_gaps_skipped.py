"""gaps: skip computes tissue alone, and equals a dense rendering in which the scan passes empty cells by."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.models.bags import random_bag
from tests.models.equations import (
    Parameters,
    attention_pool,
    convolve_2d,
    layer_norm,
    linear,
    project,
    rms_norm,
    selective,
    silu,
)
from tests.models.renderings import CORNERS
from tests.models.test_equations import assert_equal, bag_of, small
from wsi2dmamba.core.errors import ConfigError
from wsi2dmamba.models.base import Bag
from wsi2dmamba.models.registry import build_model


def scan_occupied(P: Parameters, name: str, u: Tensor, corner: str, occupied: Tensor) -> Tensor:
    """g of the occupied cell before in the row, h of the one before in the column; u (H, W, C)."""
    height, width = occupied.shape
    delta, A, B, C = selective(P, name, u)
    rows = range(height) if corner.startswith("top") else range(height - 1, -1, -1)
    cols = range(width) if corner.endswith("left") else range(width - 1, -1, -1)
    h = [torch.zeros_like(A)] * width
    y = {}
    for i in rows:
        g = torch.zeros_like(A)
        for j in cols:
            if not occupied[i, j]:
                continue
            a = torch.exp(delta[i, j][:, None] * A)
            g = a * g + (delta[i, j] * u[i, j])[:, None] * B[i, j]
            h[j] = a * h[j] + g
            y[i, j] = (h[j] * C[i, j]).sum(-1)
    nothing = torch.zeros_like(u[0, 0])
    return torch.stack([torch.stack([y.get((i, j), nothing) for j in range(width)]) for i in range(height)])


def mixed(P: Parameters, name: str, tokens: Tensor, grid: Tensor, size: tuple[int, int], corners: int) -> Tensor:
    """One mixer on a dense raster that is zero between the patches, read at the patches."""
    at = {tuple(cell): k for k, cell in enumerate(grid.tolist())}
    occupied = torch.tensor([[(i, j) in at for j in range(size[1])] for i in range(size[0])])
    u, z = linear(P, f"{name}.in_proj", tokens).chunk(2, -1)
    nothing = torch.zeros_like(u[0])
    dense = torch.stack(
        [torch.stack([u[at[i, j]] if (i, j) in at else nothing for j in range(size[1])]) for i in range(size[0])]
    )
    if f"{name}.conv.weight" in P:
        dense = convolve_2d(P, f"{name}.conv", dense)
    dense = silu(dense)
    y = torch.zeros_like(dense)
    for k, corner in enumerate(CORNERS[:corners]):
        own = f"{name}.selective.{k}"
        if f"{own}.D" in P and f"{name}.selective.1.D" in P:
            y = y + scan_occupied(P, own, dense, corner, occupied) + P[f"{own}.D"] * dense
        else:
            y = y + scan_occupied(P, f"{name}.selective.0", dense, corner, occupied)
    if f"{name}.selective.1.D" not in P:
        y = y + P[f"{name}.selective.0.D"] * dense
    at_patches = torch.stack([y[i, j] for i, j in grid.tolist()])
    return linear(P, f"{name}.out_proj", at_patches * silu(z))


def tokens_of(P: Parameters, tokens: Tensor, grid: Tensor, layers: int = 1, corners: int = 1) -> Tensor:
    grid = grid - grid.amin(0)
    size = tuple((grid.amax(0) + 1).tolist())
    for layer in range(layers):
        name = f"blocks.{layer}"
        tokens = tokens + mixed(P, f"{name}.mixer", rms_norm(P, f"{name}.norm", tokens), grid, size, corners)
    return layer_norm(P, "norm", tokens)


@pytest.mark.parametrize(
    ("size", "options"),
    [
        ((5, 6), {}),
        ((5, 6), {"corners": 4}),
        ((1, 7), {"corners": 4, "conv_kernel": 5}),
        ((7, 3), {"corners": 4, "corner_parameters": "separate", "layers": 2}),
        ((4, 5), {"conv": "none", "drop_path": 0.5}),
    ],
    ids=str,
)
def test_equals_the_dense_rendering(size, options):
    model, bag = small("2dmamba", gaps="skip", **options), bag_of(size)
    P = dict(model.named_parameters())
    expected = attention_pool(
        P, tokens_of(P, project(P, bag), bag.grid, options.get("layers", 1), options.get("corners", 1))
    )
    assert_equal(model, bag, expected)


def test_pieces_apart_are_skipped_over_each_on_its_own():
    model, bag = small("2dmamba", gaps="skip", pieces="apart"), bag_of((4, 4))
    far = Bag(bag.features, bag.grid.clone(), (40, 40))
    moved = far.grid[:, 0] >= 2
    far.grid[moved] += 20
    P = dict(model.named_parameters())
    tokens, joined = project(P, far), torch.zeros(len(far), 8, dtype=torch.float64)
    for piece in (moved, ~moved):
        joined = joined.index_put((piece.nonzero().squeeze(1),), tokens_of(P, tokens[piece], far.grid[piece]))
    assert_equal(model, far, attention_pool(P, joined))


def test_empty_rows_and_columns_between_patches_change_nothing_without_convolution():
    model, bag = small("2dmamba", gaps="skip", conv="none"), random_bag(5, 6, dtype=torch.float64)
    stretched = Bag(bag.features, bag.grid * torch.tensor([3, 7]), (15, 42))
    torch.testing.assert_close(model(bag).logits, model(stretched).logits, rtol=1e-10, atol=1e-12)


def test_single_precision_runs_and_trains_like_double():
    bag = random_bag(40, 40, keep=0.2)
    double = small("2dmamba", gaps="skip", dim=16)
    single = build_model("2dmamba", 6, 3, {"dim": 16, "attention_dim": 5, "state": 2, "gaps": "skip"}).eval()
    single.load_state_dict({name: x.float() for name, x in double.state_dict().items()})
    exact = double(Bag(bag.features.double(), bag.grid, bag.grid_shape)).logits
    found = single(bag).logits
    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-5)
    found.sum().backward()
    exact.sum().backward()
    for (name, x), y in zip(single.named_parameters(), double.parameters(), strict=True):
        if y.grad is not None:
            torch.testing.assert_close(x.grad.double(), y.grad, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("options", [{"pooling": "all"}, {"conv": "1d"}, {"grid_shape": (9, 9)}], ids=str)
def test_options_that_need_cells_between_patches_are_refused(options):
    with pytest.raises(ConfigError, match="gaps: skip needs pooling: tissue, conv: 2d or none, and no grid_shape"):
        small("2dmamba", gaps="skip", **options)
