"""The fast path gives OpenSlide's pixels, decodes every stored tile once, and steps aside where it does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import fabricate
from tests.shared_data import shared_path
from tests.slides.test_patches import all_tiles, geometry
from tests.slides.tiffs import Pyramid, write_pyramid
from wsi2dmamba.core.errors import SlideError
from wsi2dmamba.slides.native_reader import TOLERANCE_GREY_LEVELS, NativeReader
from wsi2dmamba.slides.openslide_reader import OpenSlideReader
from wsi2dmamba.slides.patches import iter_patches, read_patches
from wsi2dmamba.slides.reader import BadRegionError, open_slide

SIZE = (1280, 896)
ODD_SIZE = (1037, 793)


def generic_tiff(path: Path, codec: str = "jpeg-ycbcr") -> Path:
    return write_pyramid(path, fabricate.slide_image(SIZE), Pyramid("generic", codec, (1, 2)))


def assert_same_pixels(path: Path) -> None:
    """Compare regions inside, over every edge and outside, at every level."""
    rng = np.random.default_rng(0)
    with NativeReader(path) as native, OpenSlideReader(path) as openslide:
        assert native.levels == openslide.levels and native.mpp == openslide.mpp
        for level, (width, height) in enumerate(item.size for item in native.levels):
            tile = native.pages[level].tile_width
            regions = [(0, 0, 256, 256), (tile, tile, tile, tile), (0, 0, min(width, 500), min(height, 400))]
            regions += [(width - 60, height - 50, 100, 100), (-20, -30, 90, 80), (width + 5, 3, 20, 20)]
            regions += [(width - tile, 0, tile, tile), (0, height - tile, tile, tile)]
            regions += [(int(rng.integers(-40, width)), int(rng.integers(-40, height)), 150, 130) for _ in range(12)]
            for x, y, w, h in regions:
                ours = native.read(level, x, y, w, h).astype(int)
                off = np.abs(ours - openslide.read(level, x, y, w, h)).max(axis=2)
                assert off.max() <= 2 * TOLERANCE_GREY_LEVELS, (level, x, y)
                # Beyond the tolerance: single pixels where four stored tiles meet (see the module), nothing else.
                assert np.count_nonzero(off > TOLERANCE_GREY_LEVELS) <= (w // tile + 2) * (h // tile + 2), (level, x, y)
                assert native.levels[level].downsample % 1 or off.max() <= TOLERANCE_GREY_LEVELS


def test_aperio_equals_openslide(tmp_path: Path) -> None:
    assert_same_pixels(fabricate.svs(tmp_path / "a.svs", size=SIZE))


@pytest.mark.parametrize("size", [SIZE, ODD_SIZE])
@pytest.mark.parametrize(
    "maker, codec",
    [
        *(("aperio", codec) for codec in ("jpeg-ycbcr", "jpeg-420", "jpeg-rgb", "jp2k-rgb", "jp2k-ycbcr")),
        *(("generic", codec) for codec in ("jpeg-ycbcr", "jpeg-420", "jpeg-rgb")),
        *(("philips", codec) for codec in ("jpeg-420", "jpeg-rgb")),
    ],
)
def test_every_maker_codec_and_size_equals_openslide(
    tmp_path: Path, maker: str, codec: str, size: tuple[int, int]
) -> None:
    path = tmp_path / ("a.svs" if maker == "aperio" else "a.tiff")
    write_pyramid(path, fabricate.slide_image(size), Pyramid(maker, codec, (1, 2, 4, 8)))
    assert_same_pixels(path)
    with open_slide(path) as reader:
        assert reader.backend == "native" and reader.mpp == pytest.approx(0.5)
        truth = fabricate.slide_image(size).astype(int)
        assert np.abs(reader.read(0, 0, 0, *size) - truth).mean() < 5


def test_patches_of_a_level_with_a_fractional_downsample_do_not_depend_on_the_reader(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "a.svs", fabricate.slide_image(ODD_SIZE), Pyramid("aperio", factors=(1, 4)))
    tiles = all_tiles(geometry(ODD_SIZE, 64, 256))
    with NativeReader(path) as native, OpenSlideReader(path) as openslide:
        assert not native.levels[1].downsample.is_integer()
        for ours, theirs in zip(iter_patches(native, tiles), iter_patches(openslide, tiles), strict=True):
            assert np.abs(ours.patches.astype(int) - theirs.patches).max() <= TOLERANCE_GREY_LEVELS


def test_real_aperio_slide_equals_openslide() -> None:
    assert_same_pixels(shared_path("data/slides/CMU-1-Small-Region.svs"))


@pytest.mark.parametrize("corner", [0, 100])
def test_each_stored_tile_is_decoded_once(tmp_path: Path, corner: int) -> None:
    path = fabricate.svs(tmp_path / "a.svs", size=(2048, 1536))
    of = geometry((2048, 1536), 256, 256)
    tiles = all_tiles(of)
    with NativeReader(path) as reader:
        assert reader.background == (255, 255, 255)  # looks at the border of the last level, once
        reader.cache.decoded = 0
        reader.cache.clear()
        reader.cache.limit = 0  # only what a band needs is kept
        coords = tiles.coords + corner
        for start in range(0, len(coords), 5):
            read_patches(reader, of, coords[start : start + 5])
        assert reader.cache.decoded == reader.pages[0].across * reader.pages[0].down


def test_native_patches_equal_openslides_between_levels(tmp_path: Path) -> None:
    path = fabricate.svs(tmp_path / "a.svs", size=SIZE)
    tiles = all_tiles(geometry(SIZE, 112, 179))
    with NativeReader(path) as native, OpenSlideReader(path) as openslide:
        for ours, theirs in zip(iter_patches(native, tiles), iter_patches(openslide, tiles), strict=True):
            assert np.abs(ours.patches.astype(int) - theirs.patches).max() <= TOLERANCE_GREY_LEVELS


def test_damaged_tile_is_a_bad_region_and_the_rest_reads(tmp_path: Path) -> None:
    path = fabricate.svs(tmp_path / "a.svs", size=SIZE)
    x, y = fabricate.corrupt_jpeg_tile(path)
    with open_slide(path) as reader:
        assert reader.backend == "native"
        with pytest.raises(BadRegionError, match=rf"\({x}, {y}\)"):
            reader.read(0, x, y, 100, 100)
        reader.read(0, 0, 0, 100, 100)


def test_truncated_slide_says_that_the_file_ends(tmp_path: Path) -> None:
    path = generic_tiff(tmp_path / "a.tif")
    with NativeReader(path) as reader:
        fabricate.truncate(path, 0.3)
        with pytest.raises(BadRegionError, match="the file ends before it"):
            reader.read(0, SIZE[0] - 100, SIZE[1] - 100, 64, 64)


def test_other_compressions_are_left_to_openslide(tmp_path: Path) -> None:
    path = generic_tiff(tmp_path / "a.tif", codec="zlib")
    with pytest.raises(SlideError, match="JPEG-tiled"):
        NativeReader(path)
    assert open_slide(path).backend == "openslide"


def test_wrong_colours_are_noticed_and_left_to_openslide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fabricate.svs(tmp_path / "a.svs", size=SIZE)
    monkeypatch.setattr("wsi2dmamba.slides.tiff_tiles.PHOTOMETRICS", {2: "YCBCR", 6: "RGB"})
    with pytest.raises(SlideError, match="off from OpenSlide"):
        NativeReader(path)
    assert open_slide(path).backend == "openslide"


def test_openslide_can_be_insisted_on(tmp_path: Path) -> None:
    path = fabricate.svs(tmp_path / "a.svs", size=SIZE)
    assert open_slide(path).backend == "native"
    assert open_slide(path, "openslide").backend == "openslide"
