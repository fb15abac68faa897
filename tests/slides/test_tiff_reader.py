"""TIFFs that OpenSlide refuses: strips, OME, 16 bits, channels, planes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests import fabricate
from wsi2dmamba.core.errors import SlideError
from wsi2dmamba.slides.reader import BadRegionError, open_slide
from wsi2dmamba.slides.tiff_reader import TiffReader

SIZE = (500, 380)
IMAGE = fabricate.slide_image(SIZE)


def test_strips_are_read_with_tiff_resolution(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, IMAGE, resolution=(40_000, 40_000), resolutionunit="CENTIMETER")
    with open_slide(path) as reader:
        assert reader.backend == "tifffile" and reader.mpp == pytest.approx(0.25)
        np.testing.assert_array_equal(reader.read(0, 100, 50, 200, 150), IMAGE[50:200, 100:300])
        assert (reader.read(0, 450, 300, 100, 100)[:, 50:] == 255).all()


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("tile", [None, (64, 64)])
def test_ome_pyramid_keeps_levels_and_resolution(tmp_path: Path, planar: str, tile: tuple[int, int] | None) -> None:
    path = tmp_path / "a.b.ome.tif"
    axes = "YXS" if planar == "contig" else "SYX"
    image = IMAGE if planar == "contig" else np.moveaxis(IMAGE, -1, 0).copy()
    half = image[::2, ::2] if planar == "contig" else image[:, ::2, ::2]
    options = {"photometric": "rgb", "planarconfig": planar, "tile": tile}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        metadata = {"axes": axes, "PhysicalSizeX": 500.0, "PhysicalSizeXUnit": "nm"}
        tiff.write(image, subifds=1, metadata=metadata, **options)
        tiff.write(np.ascontiguousarray(half), subfiletype=1, **options)
    with open_slide(path) as reader:
        assert reader.backend == "tifffile" and reader.mpp == pytest.approx(0.5)
        assert [level.size for level in reader.levels] == [(500, 380), (250, 190)]
        np.testing.assert_array_equal(reader.read(0, 30, 50, 333, 222), IMAGE[50:272, 30:363])
        np.testing.assert_array_equal(reader.read(1, 10, 20, 100, 90), IMAGE[::2, ::2][20:110, 10:110])


def test_fluorescence_channels_become_blue_green_red(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tiff"
    channels = np.zeros((4, 300, 400), dtype=np.uint16)
    channels[0, :100], channels[1, 100:200], channels[2, 200:], channels[3] = 4000, 4000, 4000, 9999
    tifffile.imwrite(path, channels, ome=True, tile=(64, 64), metadata={"axes": "CYX", "PhysicalSizeX": 0.65})
    with open_slide(path) as reader:
        picture = reader.read(0, 0, 0, 400, 300)
        assert reader.mpp == pytest.approx(0.65)
        for y, colour in ((50, (0, 0, 255)), (150, (0, 255, 0)), (250, (255, 0, 0))):
            assert tuple(picture[y, 200].tolist()) == colour


def test_grey_16_bit_is_scaled(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    ramp = np.linspace(0, 3000, 400 * 300).reshape(300, 400).astype(np.uint16)
    tifffile.imwrite(path, ramp)
    picture = open_slide(path).read(0, 0, 0, 400, 300)
    assert picture.shape == (300, 400, 3) and picture[0, 0, 0] == 0 and picture[-1, -1, 0] == 255
    assert 120 < picture[150, 0, 1] < 135


def test_printing_resolution_is_reported_but_not_plausible(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, IMAGE, resolution=(72, 72), resolutionunit="INCH")
    assert open_slide(path).mpp == pytest.approx(352.8, rel=1e-3)


def test_damaged_tile_and_no_tiff(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, IMAGE, tile=(128, 128), compression="jpeg", photometric="rgb", ome=True)
    fabricate.corrupt_jpeg_tile(path)
    with TiffReader(path) as reader:
        with pytest.raises(BadRegionError):
            reader.read(0, 0, 0, *SIZE)
        reader.read(0, SIZE[0] - 20, 0, 20, 20)
    (tmp_path / "b.tif").write_bytes(b"II*\0nothing")
    with pytest.raises(SlideError):
        open_slide(tmp_path / "b.tif")
