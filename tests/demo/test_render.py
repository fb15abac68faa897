"""A planned slide becomes an SVS file whose cells hold exactly one kind of tissue each."""

from __future__ import annotations

import numpy as np
import openslide
import pytest

from wsi2dmamba.demo.cohort import CohortPlan, plan_cohort
from wsi2dmamba.demo.layout import GLASS
from wsi2dmamba.demo.render import PATCH_PX, RenderTask, SlidePicture, render_slide
from wsi2dmamba.demo.tiles import ROLES, draw_tiles, open_tiles


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    draw_tiles(folder, per_kind=2, seed=0, workers=1)
    return open_tiles(folder)


@pytest.fixture(scope="module")
def slide(bank):
    return plan_cohort(CohortPlan(patients=2, side=9, folds=1), bank)[0].slides[0]


def _cell(picture, row, column):
    return picture.region(column * PATCH_PX, row * PATCH_PX, PATCH_PX, PATCH_PX)


def test_regions_agree_however_they_are_asked_for(slide, bank):
    picture = SlidePicture(slide, bank)
    whole = picture.region(0, 0, *picture.size)
    assert whole.shape == (picture.size[1], picture.size[0], 3)
    for x, y, width, height in ((0, 0, 256, 256), (1111, 777, 300, 411), (picture.size[0] - 5, 3, 5, 9)):
        assert np.array_equal(picture.region(x, y, width, height), whole[y : y + height, x : x + width])


def test_cells_inside_the_tissue_are_one_patch_each(slide, bank):
    picture = SlidePicture(slide, bank)
    patches = {
        role: [slide.stain.apply(bank.load(role, index, PATCH_PX)) for index in range(2)]
        for role in ("tumour", "infiltrate")
    }
    symmetries = [lambda p, k=k, f=f: np.rot90(p, k)[:, ::-f] for k in range(4) for f in (1, -1)]
    for role, candidates in patches.items():
        for row, column in np.argwhere(slide.layout == ROLES.index(role)):
            cell = _cell(picture, row, column).astype(int)
            assert min(np.abs(cell - turn(patch)).max() for patch in candidates for turn in symmetries) <= 1


def test_glass_is_blank_and_tissue_keeps_most_of_its_cell(slide, bank):
    picture = SlidePicture(slide, bank)
    for row, column in np.argwhere(slide.layout == GLASS):
        assert (_cell(picture, row, column) == np.asarray(slide.stain.glass, np.uint8)).all()
    stroma = np.argwhere(slide.layout == ROLES.index("stroma"))
    covered = [(_cell(picture, *cell).min(axis=2) < 225).mean() for cell in stroma]
    assert np.median(covered) > 0.6 and min(covered) < 0.9


def test_file_shows_the_picture(slide, bank, tmp_path):
    picture = SlidePicture(slide, bank)
    file = openslide.OpenSlide(render_slide(RenderTask(tmp_path / f"{slide.slide_id}.svs", slide, bank)))
    assert file.dimensions == picture.size and float(file.properties["openslide.mpp-x"]) == 0.5
    read = np.asarray(file.read_region((900, 900), 0, (500, 400)).convert("RGB")).astype(int)
    assert np.abs(read - picture.region(900, 900, 500, 400)).mean() < 6
