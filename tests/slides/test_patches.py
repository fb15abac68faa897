"""Patches: right level, right place, right size, and damage that stays local."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests import fabricate
from wsi2dmamba.slides.image_reader import ArrayReader
from wsi2dmamba.slides.lattice import Lattice
from wsi2dmamba.slides.openslide_reader import OpenSlideReader
from wsi2dmamba.slides.patches import iter_patches, patch_source, read_patch, read_patches
from wsi2dmamba.slides.reader import BadRegionError, Level, open_slide
from wsi2dmamba.slides.tiff_reader import TiffReader
from wsi2dmamba.slides.tilefile import TileFile, TileGeometry


def geometry(size: tuple[int, int], patch_px: int, side_level0: int, step: int | None = None) -> TileGeometry:
    step = step or side_level0
    lattice = Lattice((0, 0), step, (-(-size[1] // step), -(-size[0] // step)))
    return TileGeometry("s", 0.25, 0.25 * side_level0 / patch_px, patch_px, side_level0, 0, lattice, size)


def all_tiles(of: TileGeometry) -> TileFile:
    grid = np.argwhere(np.ones(of.lattice.shape, dtype=bool)).astype(np.int32)
    return TileFile(of.lattice.corners(grid), grid, np.ones(len(grid), np.float32), of)


LEVELS = (Level((8000, 4000), 1.0), Level((2000, 1000), 4.0), Level((498, 249), 16.06))


@pytest.mark.parametrize(
    "side_level0, level, side", [(256, 0, 256), (1000, 0, 1000), (1024, 1, 256), (2000, 1, 500), (4096, 2, 255)]
)
def test_next_finer_level_is_read(side_level0: int, level: int, side: int) -> None:
    source = patch_source(LEVELS, geometry((8000, 4000), 256, side_level0))
    assert (source.level, source.side) == (level, side)


def test_patch_is_the_area_mean_of_its_field() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    patch = read_patch(ArrayReader(Path("a.png"), image), 20, 40, geometry((400, 300), 32, 64))
    exact = image[40:104, 20:84].reshape(32, 2, 32, 2, 3).mean(axis=(1, 3))
    assert np.abs(patch - exact).max() <= 0.51


@pytest.mark.parametrize("open_reader", [OpenSlideReader, TiffReader])
def test_bulk_reading_equals_patch_by_patch(tmp_path: Path, open_reader: type[OpenSlideReader | TiffReader]) -> None:
    path = fabricate.svs(tmp_path / "a.svs", size=(1100, 900))
    for patch_px, side, step in ((96, 96, 96), (64, 100, 90), (48, 192, 192)):
        of = geometry((1100, 900), patch_px, side, step)
        with open_reader(path) as reader:
            tiles = all_tiles(of)
            batches = list(iter_patches(reader, tiles, batch_size=7))
            merged = np.concatenate([batch.patches for batch in batches])
            single = np.stack([read_patch(reader, int(x), int(y), of) for x, y in tiles.coords])
        assert [batch.start for batch in batches] == list(range(0, len(tiles), 7))
        np.testing.assert_array_equal(merged, single)


def test_outside_the_slide_is_background() -> None:
    for ground in ((255, 255, 255), (9, 12, 14)):
        image = np.full((100, 100, 3), ground, dtype=np.uint8)
        image[30:70, 30:70] = (200, 90, 160)
        reader = ArrayReader(Path("a.png"), image)
        patch = reader.read(0, -50, 60, 100, 100)
        assert (patch[:, :50] == ground).all() and (patch[45:] == ground).all()
        assert (patch[0, 90] == (200, 90, 160)).all()


def test_damage_stays_in_its_patch(tmp_path: Path) -> None:
    path = fabricate.svs(tmp_path / "a.svs", size=(1024, 768))
    corner = fabricate.corrupt_jpeg_tile(path)
    tiles = all_tiles(geometry((1024, 768), 256, 256))
    with OpenSlideReader(path) as reader:
        patches, readable = read_patches(reader, tiles.geometry, tiles.coords)
        assert [tuple(corner) for corner in tiles.coords[~readable]] == [corner]
        assert (patches[~readable] == reader.background).all()
        with pytest.raises(BadRegionError, match="cannot be read"):
            read_patch(reader, *corner, tiles.geometry)
        np.testing.assert_array_equal(read_patch(reader, 0, 0, tiles.geometry), patches[0])


def test_non_ascii_names_open(tmp_path: Path) -> None:
    image = fabricate.slide_image((300, 200))
    path = tmp_path / "größe (1) ✓.v2.png"
    path.write_bytes(cv2.imencode(".png", image[..., ::-1])[1].tobytes())
    np.testing.assert_array_equal(open_slide(path).read(0, 0, 0, 300, 200), image)
    slide = fabricate.svs(tmp_path / "größe (1) ✓.v2.svs", size=(600, 400))
    assert open_slide(slide).levels[0].size == (600, 400)
