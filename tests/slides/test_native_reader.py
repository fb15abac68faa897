"""The fast path gives OpenSlide's pixels, decodes every stored tile once, and steps aside where it does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests import fabricate
from tests.shared_data import shared_path
from tests.slides.test_patches import all_tiles, geometry
from wsi2dmamba.core.errors import SlideError
from wsi2dmamba.slides.native_reader import TOLERANCE_GREY_LEVELS, NativeReader
from wsi2dmamba.slides.openslide_reader import OpenSlideReader
from wsi2dmamba.slides.patches import iter_patches, read_patches
from wsi2dmamba.slides.reader import BadRegionError, open_slide

SIZE = (1280, 896)


def generic_tiff(path: Path, *, compression: str = "jpeg", photometric: str = "ycbcr") -> Path:
    """Write a tiled, pyramidal TIFF without any vendor's marks."""
    image = fabricate.slide_image(SIZE)
    with tifffile.TiffWriter(path) as tiff:
        for index, level in enumerate((image, image[::2, ::2])):
            tiff.write(
                np.ascontiguousarray(level),
                tile=(128, 128),
                photometric=photometric,
                compression=compression,
                subfiletype=int(index > 0),
                resolution=(20_000 >> index, 20_000 >> index),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
    return path


def assert_same_pixels(path: Path) -> None:
    rng = np.random.default_rng(0)
    with NativeReader(path) as native, OpenSlideReader(path) as openslide:
        assert native.levels == openslide.levels and native.mpp == openslide.mpp
        for level, (size, downsample) in enumerate((item.size, item.downsample) for item in native.levels):
            if not downsample.is_integer():
                continue
            regions = [(0, 0, 256, 256), (size[0] - 60, size[1] - 50, 100, 100), (-20, -30, 90, 80)]
            regions += [(*(int(rng.integers(0, side)) for side in size), 210, 130) for _ in range(6)]
            for x, y, width, height in regions:
                ours = native.read(level, x, y, width, height).astype(int)
                theirs = openslide.read(level, x, y, width, height)
                assert np.abs(ours - theirs).max() <= TOLERANCE_GREY_LEVELS, (level, x, y)


def test_aperio_equals_openslide(tmp_path: Path) -> None:
    assert_same_pixels(fabricate.svs(tmp_path / "a.svs", size=SIZE))


@pytest.mark.parametrize("photometric", ["ycbcr", "rgb"])
def test_generic_jpeg_equals_openslide(tmp_path: Path, photometric: str) -> None:
    path = generic_tiff(tmp_path / "a.tif", photometric=photometric)
    assert_same_pixels(path)
    assert open_slide(path).backend == "native" and open_slide(path).mpp == pytest.approx(0.5)


def test_real_aperio_slide_equals_openslide() -> None:
    assert_same_pixels(shared_path("data/slides/CMU-1-Small-Region.svs"))


def test_aperio_jpeg2000_equals_openslide(tmp_path: Path) -> None:
    path = tmp_path / "a.svs"
    image = fabricate.slide_image(SIZE)
    description = (
        f"Aperio Image Library v1\r\n{SIZE[0]}x{SIZE[1]} [0,0 1x1] (240x240) J2K/KDU Q=70|AppMag = 20|MPP = 0.5"
    )
    tifffile.imwrite(
        path, image, tile=(240 // 16 * 16, 240), photometric="rgb", compression="APERIO_JP2000_RGB",
        description=description, metadata=None, software=False,
    )  # fmt: skip
    assert_same_pixels(path)
    assert open_slide(path).backend == "native"


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
    path = generic_tiff(tmp_path / "a.tif", compression="zlib", photometric="rgb")
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
