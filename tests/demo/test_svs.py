"""The slides that the demo and the tests write are what OpenSlide takes for Aperio's."""

from __future__ import annotations

import numpy as np
import openslide
import pytest

from tests import fabricate
from wsi2dmamba.core.errors import InputError
from wsi2dmamba.demo.svs import SvsLayout, region_source, write_svs


def _region(slide, x, y, level, side):
    return np.asarray(slide.read_region((x, y), level, (side, side)).convert("RGB")).astype(float)


def test_openslide_reads_an_aperio_slide_with_resolution(tmp_path):
    slide = openslide.OpenSlide(fabricate.svs(tmp_path / "a.svs", mpp=0.25))
    assert slide.properties["openslide.vendor"] == "aperio"
    assert float(slide.properties["openslide.mpp-x"]) == 0.25
    assert float(slide.properties["openslide.objective-power"]) == 40
    assert slide.level_dimensions == ((2048, 1536), (512, 384), (256, 192))
    assert slide.associated_images["thumbnail"].size == (512, 384)


def test_all_levels_show_the_same_picture(tmp_path):
    image = fabricate.slide_image((1500, 1300), seed=3)
    write_svs(tmp_path / "a.svs", (1500, 1300), region_source(image))
    slide = openslide.OpenSlide(tmp_path / "a.svs")
    exact = image[600:1112, 480:992].mean(axis=(0, 1))
    assert np.abs(_region(slide, 480, 600, 0, 512) - image[600:1112, 480:992]).mean() < 4
    for level, factor in enumerate((1, 4, 8)):
        assert np.abs(_region(slide, 480, 600, level, 512 // factor).mean(axis=(0, 1)) - exact).max() < 3


def test_source_is_never_asked_for_pixels_outside(tmp_path):
    asked = []

    def source(x, y, width, height):
        asked.append((x, y, width, height))
        return np.full((height, width, 3), 200, dtype=np.uint8)

    write_svs(tmp_path / "a.svs", (700, 300), source)
    assert sum(width * height for _, _, width, height in asked) == 700 * 300
    assert all(x + width <= 700 and y + height <= 300 for x, y, width, height in asked)


def test_same_input_same_bytes(tmp_path):
    first = fabricate.svs(tmp_path / "a.svs").read_bytes()
    assert fabricate.svs(tmp_path / "b.svs").read_bytes() == first


def test_slide_without_resolution(tmp_path):
    slide = openslide.OpenSlide(fabricate.svs(tmp_path / "a.svs", mpp=None))
    assert "openslide.mpp-x" not in slide.properties


@pytest.mark.parametrize("kind, low, high", [("tissue", 0, 255), ("dark", 0, 40), ("blank", 225, 255)])
def test_kinds_of_background(tmp_path, kind, low, high):
    slide = openslide.OpenSlide(fabricate.svs(tmp_path / "a.svs", kind=kind))
    corner = _region(slide, 0, 0, 0, 64)
    assert low <= corner.min() and corner.max() <= high


def test_corrupt_tile_fails_only_where_it_lies(tmp_path):
    path = fabricate.svs(tmp_path / "a.svs")
    x, y = fabricate.corrupt_jpeg_tile(path)
    _region(openslide.OpenSlide(path), 0, 0, 0, 64)
    with pytest.raises(openslide.OpenSlideError):
        _region(openslide.OpenSlide(path), x, y, 0, 64)


def test_truncated_slide_does_not_read(tmp_path):
    path = fabricate.truncate(fabricate.svs(tmp_path / "a.svs"))
    with pytest.raises(openslide.OpenSlideError):
        _region(openslide.OpenSlide(path), 1800, 1400, 0, 64)


@pytest.mark.parametrize(
    "size, layout", [((5, 5), SvsLayout()), ((512, 512), SvsLayout(tile_px=256, downsamples=(3,)))]
)
def test_impossible_layouts_are_refused(tmp_path, size, layout):
    with pytest.raises(InputError):
        write_svs(tmp_path / "a.svs", size, lambda x, y, w, h: np.zeros((h, w, 3), np.uint8), layout)
    assert not list(tmp_path.iterdir())
