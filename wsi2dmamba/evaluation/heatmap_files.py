"""`wsi2dmamba heatmap`: from a run and a slide to pictures, a QuPath file and a table."""

from __future__ import annotations

import json
from pathlib import Path

import cv2

from wsi2dmamba.cohort.matching import FEATURE_SUFFIXES
from wsi2dmamba.core.errors import EvaluationError
from wsi2dmamba.core.files import atomic_path, write_text
from wsi2dmamba.evaluation.heatmap import PatchScores, score_patches
from wsi2dmamba.evaluation.heatmap_draw import Picture, colour_bar, montage, overlay, top_patches
from wsi2dmamba.evaluation.heatmap_geojson import to_geojson
from wsi2dmamba.evaluation.run import load_run
from wsi2dmamba.slides.reader import open_slide
from wsi2dmamba.slides.thumbnail import read_thumbnail


def write_heatmap(
    run: Path,
    slide: str,
    *,
    features: Path | None = None,
    out: Path | None = None,
    fold: int | None = None,
    of_class: str | None = None,
    top: int = 12,
    opacity: float = 0.55,
    passes: int = 512,
) -> tuple[PatchScores, list[Path]]:
    """Write a slide's heatmaps into `<run>/heatmaps/<slide_id>/` (or `out`).

    Parameters
    ----------
    run
        A run folder.
    slide
        A slide file, or the id of a slide of the run (its file is then found through the feature file).
    features
        Feature file, or folder of feature files; default: the run's.
    out
        Output folder.
    fold, of_class, passes
        See `score_patches`.
    top
        How many of the highest-scoring patches to show.
    opacity
        Of the colours over the slide.

    Returns
    -------
    tuple
        The scores, and the files: for each score `<score>.png` and `top-<score>.png`, then `patches.geojson` and
        `patches.csv`.

    Raises
    ------
    EvaluationError
        If the slide or its features are not found.
    """
    settings = load_run(run)
    given = Path(slide)
    slide_id = given.stem if given.exists() else slide
    feature_file = _feature_file(features or settings.features.dir, slide_id)
    scores = score_patches(run, feature_file, source=settings.features, fold=fold, of_class=of_class, passes=passes)
    path = given if given.exists() else _slide_of(scores, slide)
    folder = out or run / "heatmaps" / scores.tiles.geometry.slide_id
    written = []
    with open_slide(path) as reader:
        _check_same_slide(scores, path, reader.levels[0].size)
        thumbnail = read_thumbnail(reader, scores.tiles.geometry.slide_mpp)
        for name in scores.names:
            written.append(_write_png(folder / f"{name}.png", overlay(scores, name, thumbnail, opacity)))
            numbers = top_patches(scores, name, top)
            if len(numbers):
                written.append(_write_png(folder / f"top-{name}.png", montage(scores, numbers, reader)))
    write_text(folder / "patches.geojson", json.dumps(to_geojson(scores), allow_nan=False))
    with atomic_path(folder / "patches.csv") as partial:
        scores.table().to_csv(partial, index=False)
    return scores, [*written, folder / "patches.geojson", folder / "patches.csv"]


def summary_lines(scores: PatchScores) -> list[str]:
    """Return what a user should know of the pictures, one line each."""
    asked = ", ".join(scores.models)
    lines = [f"{len(scores.tiles)} patches, scored by {asked}"]
    if not scores.held_out:
        lines.append("note: these models saw the patient in training or validation; their attention is not held out")
    lines += [f"{name}.png: {colour_bar(name, scores.target)}" for name in scores.names]
    if scores.contribution is None:
        lines.append("note: the head of this model allows no contribution of single patches")
    return lines


def _feature_file(given: Path, slide_id: str) -> Path:
    if given.is_file():
        return given
    for suffix in FEATURE_SUFFIXES:
        if (given / f"{slide_id}{suffix}").is_file():
            return given / f"{slide_id}{suffix}"
    raise EvaluationError(
        f"no features of slide {slide_id!r} in {given}; run `wsi2dmamba tile` and `wsi2dmamba extract` on it, "
        "or name them with --features"
    )


def _slide_of(scores: PatchScores, slide: str) -> Path:
    stamp = scores.tiles.stamp
    if stamp is None or not Path(stamp.path).exists():
        where = f"; it was tiled from {stamp.path}, which is not there" if stamp else ""
        raise EvaluationError(f"the slide file of {slide!r} is not known{where}; give its path instead of its id")
    return Path(stamp.path)


def _check_same_slide(scores: PatchScores, path: Path, size: tuple[int, int]) -> None:
    tiled = scores.tiles.geometry.level0_size
    if min(tiled) > 0 and tuple(size) != tuple(tiled):
        raise EvaluationError(
            f"{path} is {size[0]} × {size[1]} pixels, but the features were made from a slide of {tiled[0]} × "
            f"{tiled[1]}: a heatmap would not lie on the tissue"
        )


def _write_png(path: Path, picture: Picture) -> Path:
    done, encoded = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not done:
        raise EvaluationError(f"cannot encode {path.name}")
    with atomic_path(path) as partial:
        partial.write_bytes(encoded.tobytes())
    return path
