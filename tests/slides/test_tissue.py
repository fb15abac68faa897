"""Tissue is found where it was put, and nowhere else."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tests.fabricate import slide_image, tissue_blobs
from wsi2dmamba.slides.config import TissueConfig
from wsi2dmamba.slides.tissue import Tissue, find_tissue, is_dark_background

MPP = 4.0
SIZE = (800, 600)


def find(image: np.ndarray, **options: object) -> Tissue:
    return find_tissue(image, MPP, 8.0, TissueConfig(**options))


def overlap(found: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union."""
    return float((found & truth).sum() / (found | truth).sum())


def textured(inside: np.ndarray, colour: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """White glass with rough stain where `inside` is true."""
    rng = np.random.default_rng(seed)
    image = np.full((*inside.shape, 3), 244, dtype=np.int16)
    image[inside] = np.asarray(colour) + rng.integers(-25, 26, (int(inside.sum()), 1))
    return np.clip(image + rng.integers(-3, 4, (*inside.shape, 1)), 0, 255).astype(np.uint8)


def ellipse(x: int, y: int, a: int, b: int) -> np.ndarray:
    mask = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)
    return cv2.ellipse(mask, (x, y), (a, b), 0, 0, 360, 1, -1).astype(bool)


@pytest.mark.parametrize("method", ["auto", "hsv", "otsu", "entropy"])
@pytest.mark.parametrize("kind", ["tissue", "dark"])
def test_every_method_finds_the_blobs(method: str, kind: str) -> None:
    tissue = find(slide_image(SIZE, kind=kind), method=method, max_hole_um2=0)
    assert tissue.dark == (kind == "dark")
    assert overlap(tissue.mask, tissue_blobs(SIZE)) > (0.75 if method == "entropy" else 0.93)


@pytest.mark.parametrize("method", ["auto", "hsv", "otsu", "entropy"])
def test_blank_slide_has_no_tissue(method: str) -> None:
    assert not find(slide_image(SIZE, kind="blank"), method=method).mask.any()


def test_slide_full_of_tissue_is_all_tissue() -> None:
    everywhere = np.ones((SIZE[1], SIZE[0]), dtype=bool)
    assert find(textured(everywhere, (190, 110, 160))).mask.mean() > 0.99


def test_tinted_glass_is_no_tissue() -> None:
    image = (slide_image(SIZE).astype(np.float32) * np.array([1.0, 0.97, 0.93])).astype(np.uint8)
    assert overlap(find(image, max_hole_um2=0).mask, tissue_blobs(SIZE)) > 0.93


def test_holes_and_pieces_by_area() -> None:
    assert find(slide_image(SIZE), max_hole_um2=0).mask[300, 288] == np.False_
    assert find(slide_image(SIZE), max_hole_um2=1e9).mask[300, 288]
    small_piece = np.pi * 0.11 * 800 * 0.2 * 600 * MPP**2
    assert not find(slide_image(SIZE), min_area_um2=1.2 * small_piece).mask[240, 656]
    assert find(slide_image(SIZE), min_area_um2=0.8 * small_piece).mask[240, 656]


def test_area_is_in_square_micrometres() -> None:
    tissue = find(slide_image(SIZE), max_hole_um2=0)
    assert tissue.area_um2 == pytest.approx(tissue_blobs(SIZE).sum() * MPP**2, rel=0.06)


def test_pale_tissue_is_kept() -> None:
    inside = ellipse(300, 300, 150, 100)
    assert overlap(find(textured(inside, (236, 214, 228))).mask, inside) > 0.85


def test_needle_biopsy_is_kept() -> None:
    inside = ellipse(400, 300, 90, 5)  # 0.7 mm by 40 µm
    assert overlap(find(textured(inside, (200, 120, 170))).mask, inside) > 0.7


def test_grey_stain_is_found_by_darkness_and_said() -> None:
    inside = ellipse(300, 300, 150, 100)
    tissue = find(textured(inside, (130, 130, 130)))
    assert overlap(tissue.mask, inside) > 0.85
    assert any("darkness" in warning for warning in tissue.warnings)


@pytest.mark.parametrize("ink", [(30, 140, 70), (40, 60, 170), (215, 30, 45), (25, 25, 30)])
def test_pen_is_kept_out(ink: tuple[int, int, int]) -> None:
    inside = ellipse(250, 300, 150, 100)
    image = textured(inside, (200, 120, 170))
    cv2.line(image, (550, 60), (700, 540), ink, 16)
    cv2.line(image, (700, 60), (560, 540), ink, 16)
    image = cv2.GaussianBlur(image, (5, 5), 0)
    tissue = find(image)
    assert overlap(tissue.mask, inside) > 0.9
    assert not tissue.mask[:, 500:].any()
    assert tissue.excluded[300, 600:650].any()


def test_black_border_is_no_tissue_and_no_dark_slide() -> None:
    inside = ellipse(400, 300, 150, 100)
    image = textured(inside, (200, 120, 170))
    image[:, :60] = image[-50:] = 4
    assert not is_dark_background(image)
    tissue = find(image)
    assert overlap(tissue.mask, inside) > 0.9


def test_bubble_edge_is_no_tissue() -> None:
    inside = ellipse(250, 300, 150, 100)
    image = textured(inside, (200, 120, 170))
    cv2.circle(image, (600, 300), 120, (90, 90, 95), 5, cv2.LINE_AA)
    assert not find(image).mask[:, 450:].any()


def test_haze_is_kept_out_and_sharp_pale_tissue_is_not() -> None:
    inside = ellipse(200, 300, 120, 100)
    pale = ellipse(560, 150, 100, 80)
    smear = ellipse(560, 430, 120, 90)
    image = textured(inside | pale, (200, 120, 170))
    image[pale] = textured(pale, (228, 196, 216))[pale]
    blurred = cv2.GaussianBlur(smear.astype(np.float32), (0, 0), 15)[..., None]
    image = np.clip(image - blurred * np.array([8, 30, 14]), 0, 255).astype(np.uint8)
    tissue = find(image)
    assert overlap(tissue.mask, inside | pale) > 0.85
    assert tissue.mask[smear].mean() < 0.1


def test_fluorescence_is_found_on_black() -> None:
    inside = ellipse(400, 300, 200, 120)
    rng = np.random.default_rng(0)
    image = rng.integers(2, 8, (SIZE[1], SIZE[0], 3)).astype(np.uint8)
    nuclei = inside & (cv2.resize(rng.random((150, 200)), SIZE, interpolation=cv2.INTER_NEAREST) < 0.5)
    image[inside] = (8, 12, 35)
    image[nuclei] = (10, 30, 160)
    tissue = find(image)
    assert tissue.dark and overlap(tissue.mask, inside) > 0.85
