"""Slides in pieces: what is connected, and that scanning pieces apart is scanning each on its own."""

from __future__ import annotations

import pytest
import torch

from wsi2dmamba.core.errors import ConfigError
from wsi2dmamba.models.base import Bag
from wsi2dmamba.models.parts.lattice import connected_pieces
from wsi2dmamba.models.registry import build_model


def bag_at(cells: list[tuple[int, int]]) -> Bag:
    generator = torch.Generator().manual_seed(0)
    grid = torch.tensor(cells)
    return Bag(torch.randn(len(cells), 6, generator=generator), grid, tuple((grid.amax(0) + 1).tolist()))


@pytest.mark.parametrize(
    ("cells", "count"),
    [
        ([(0, 0)], 1),
        ([(0, 0), (0, 2)], 1),
        ([(0, 0), (2, 0)], 1),
        ([(0, 2), (2, 0)], 1),
        ([(0, 0), (2, 2)], 1),
        ([(0, 0), (0, 3)], 2),
        ([(3, 0), (0, 0)], 2),
        ([(0, 3), (3, 0)], 2),
        ([(5, 5), (0, 0), (6, 5), (0, 1)], 2),
    ],
)
def test_patches_up_to_one_empty_cell_apart_are_connected(cells, count):
    pieces = connected_pieces(bag_at(cells))
    assert len(pieces) == count
    assert sorted(torch.cat(pieces).tolist()) == list(range(len(cells)))


@pytest.mark.parametrize("name", ["2dmamba", "vmamba"])
def test_pieces_apart_are_scanned_as_slides_of_their_own(name):
    torch.manual_seed(0)
    model = build_model(name, 6, 3, {"dim": 8, "pieces": "apart"}).eval()
    first, second = [(0, 0), (0, 1), (1, 1)], [(7, 8), (9, 9), (8, 8), (8, 9)]
    whole = bag_at([second[0], *first, *second[1:]])
    belongs = torch.tensor([False, True, True, True, False, False, False])
    parts = [Bag(whole.features[m], whole.grid[m], whole.grid_shape) for m in (belongs, ~belongs)]
    tokens = model.encode(whole)
    for mask, part in zip((belongs, ~belongs), parts, strict=True):
        torch.testing.assert_close(tokens[mask], model.encode(part), atol=1e-5, rtol=1e-4)


def test_pieces_apart_need_tissue_pooling():
    with pytest.raises(ConfigError, match="pieces: apart needs"):
        build_model("2dmamba", 6, 2, {"pieces": "apart", "grid_shape": (4, 4)})
