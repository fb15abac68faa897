"""Banks of patches: drawn or a folder of real ones, and what each class plays."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.shared_data import shared_path
from wsi2dmamba.core.errors import InputError
from wsi2dmamba.demo.drawing import DRAWN_KINDS, draw_patch
from wsi2dmamba.demo.stain import Stain
from wsi2dmamba.demo.tiles import draw_tiles, load_patch, open_tiles


def _classes(folder, *names):
    for name in names:
        (folder / name).mkdir(parents=True)
        cv2.imwrite(str(folder / name / "a.png"), np.full((40, 60, 3), 120, dtype=np.uint8))
    return folder


@pytest.mark.parametrize("kind", DRAWN_KINDS)
def test_drawn_patch_is_seeded_and_coloured_like_its_kind(kind):
    patch = draw_patch(kind, np.random.default_rng(3))
    assert patch.shape == (224, 224, 3) and patch.dtype == np.uint8
    assert np.array_equal(patch, draw_patch(kind, np.random.default_rng(3)))
    assert not np.array_equal(patch, draw_patch(kind, np.random.default_rng(4)))
    red, green, blue = patch.reshape(-1, 3).mean(axis=0)
    assert green < red and green < blue, "H&E is never green"


def test_kinds_differ_in_hematoxylin():
    dark = {kind: (draw_patch(kind, np.random.default_rng(0))[..., 0] < 130).mean() for kind in DRAWN_KINDS}
    assert dark["lymphocytes"] > 2 * dark["stroma"] and dark["fat"] < 0.05


def test_bank_is_drawn_once_and_opens_with_its_roles(tmp_path):
    draw_tiles(tmp_path, per_kind=2, seed=1, workers=1, side_px=64)
    first = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    (tmp_path / "fat" / "001.png").unlink()
    draw_tiles(tmp_path, per_kind=2, seed=1, workers=1, side_px=64)
    assert set(tmp_path.rglob("*.png")) == set(first)
    bank = open_tiles(tmp_path)
    assert bank.roles == ("tumour", "infiltrate", "stroma", "fat", "necrosis")
    assert bank.load("tumour", 1, 64).shape == (64, 64, 3)


def test_roles_by_order_by_name_and_by_option(tmp_path):
    by_order = open_tiles(_classes(tmp_path / "a", "adeno", "normal", "squamous"))
    assert {role: files[0].parent.name for role, files in by_order.files.items()} == {
        "tumour": "adeno",
        "infiltrate": "normal",
        "stroma": "squamous",
    }
    by_name = open_tiles(_classes(tmp_path / "b", "LYM", "STR", "TUM", "ADI", "MUC"))
    assert by_name.roles == ("tumour", "infiltrate", "stroma", "fat")
    told = open_tiles(tmp_path / "a", "tumour=squamous, stroma=normal,infiltrate=adeno")
    assert told.files["tumour"][0].parent.name == "squamous"


@pytest.mark.parametrize(
    "roles, message",
    [
        ("tumor=adeno", "did you mean 'tumour'"),
        ("tumour=adenoo", "did you mean 'adeno'"),
        ("tumour=adeno,stroma=normal", "nothing for infiltrate"),
    ],
)
def test_wrong_roles_are_explained(tmp_path, roles, message):
    with pytest.raises(InputError, match=message):
        open_tiles(_classes(tmp_path / "a", "adeno", "normal", "squamous"), roles)


def test_bad_folders_are_explained(tmp_path):
    with pytest.raises(InputError, match="not a folder"):
        open_tiles(tmp_path / "nowhere")
    with pytest.raises(InputError, match="nothing for"):
        open_tiles(_classes(tmp_path / "a", "one", "two"))
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(InputError, match="not an image"):
        load_patch(tmp_path / "text.png", 64)


def test_real_patches(tmp_path):
    bank = open_tiles(shared_path("data/tiles/lc25000_lung"))
    assert bank.roles == ("tumour", "infiltrate", "stroma")
    assert bank.load("tumour", 0, 224).shape == (224, 224, 3)


def test_stain_scales_what_it_says():
    patch = draw_patch("lymphocytes", np.random.default_rng(0))
    same = Stain(1.0, 1.0, (246.0, 246.0, 246.0)).apply(patch).astype(int)
    assert np.abs(same - np.minimum(patch, 246)).max() <= 1
    stronger = Stain(1.3, 1.0, (246.0, 246.0, 246.0)).apply(patch).astype(int)
    red, _, blue = (stronger - same).reshape(-1, 3).mean(axis=0)
    assert red < 1.3 * blue < 0, "hematoxylin takes away red first"
