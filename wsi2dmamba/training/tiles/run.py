"""A training on labelled patches, in one folder that can be repeated and gone on with."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import pandas as pd

from wsi2dmamba.core.environment import describe_environment
from wsi2dmamba.core.errors import ConfigError, InputError
from wsi2dmamba.core.files import atomic_path, make_folder, remove_partials, write_json
from wsi2dmamba.core.workers import default_workers
from wsi2dmamba.models.vision.config import find_config
from wsi2dmamba.training.fit import HISTORY, PREDICTIONS, is_finished, limit_threads
from wsi2dmamba.training.tiles.config import TileRun
from wsi2dmamba.training.tiles.fit import TileSet, fit_tiles
from wsi2dmamba.training.tiles.pixels import Pixels
from wsi2dmamba.training.tiles.splits import TileFold, divide
from wsi2dmamba.training.tiles.table import Tile, read_tiles
from wsi2dmamba.training.watch import show_epochs

SETTINGS = "settings.json"
TABLE = "tiles.csv"
Say = Callable[[str], None]


def train_tiles(run: TileRun, *, threads: int | None = None, overwrite: bool = False, say: Say | None = None) -> Path:
    """Train the image backbone on labelled patches.

    Parameters
    ----------
    run
        All settings.
    threads
        Threads of torch; None leaves them as they are.
    overwrite
        Delete a run of other settings that is in the folder.
    say
        Where lines about the progress go; None = nowhere.

    Returns
    -------
    Path
        The run folder: settings.json, environment.json, tiles.csv, predictions.csv, and per fold model.safetensors,
        history.csv and predictions.csv. Finished folds of the same settings and patches are left as they are.

    Raises
    ------
    WSI2DMambaError
        For any input that cannot be used; unreadable images are left out, and said.
    """
    shown, say = say is not None, say or (lambda line: None)
    if threads is not None:
        limit_threads(threads)
    find_config(run.size)
    data = load_tiles(run, threads or default_workers(), say)
    folds = divide(data.tiles, run.parts, run.folds, run.train.seeds[0])
    for line in _report(data, folds):
        say(line)
    _claim_folder(run, data, overwrite)
    _lay_out(run, data, folds)
    left = [fold for fold in folds if not is_finished(_folder(run, fold))]
    folders = [_folder(run, fold) for fold in left]
    with show_epochs(folders, [run.train.epochs] * len(left)) if shown and left else nullcontext():
        for fold, folder in zip(left, folders, strict=True):
            fit_tiles(run, data, fold, folder)
            say(_result_line(folder))
    tables = [pd.read_csv(_folder(run, fold) / PREDICTIONS, dtype=str, keep_default_na=False) for fold in folds]
    with atomic_path(run.out / PREDICTIONS) as partial:
        pd.concat(tables, ignore_index=True).to_csv(partial, index=False)
    return run.out


def load_tiles(run: TileRun, threads: int, say: Say) -> TileSet:
    """List and decode the patches; those that cannot be read are left out and said.

    Raises
    ------
    InputError
        If fewer than two classes are left, or the resolution is given of images of several sizes.
    """
    listed = read_tiles(run.tiles)
    pixels = Pixels([tile.path for tile in listed], run.px, run.cache_gb, threads)
    bad = set(pixels.read_all())
    if bad:
        say(f"skipped {len(bad)} of {len(listed)} images that cannot be read, the first {listed[min(bad)].path}")
    good = [number for number in range(len(listed)) if number not in bad]
    tiles = [listed[number] for number in good]
    classes = tuple(sorted({tile.label for tile in tiles}))
    if len(classes) < 2:
        raise InputError(f"{run.tiles.data}: fewer than two classes have a readable image")
    return TileSet(tiles, pixels.only(good), classes, _input_mpp(run, pixels))


def _input_mpp(run: TileRun, pixels: Pixels) -> float | None:
    if run.mpp is None:
        return None
    sides = {side for size in pixels.sizes for side in size}
    if len(sides) > 1:
        raise InputError(
            f"mpp is given, but the images have sides from {min(sides)} to {max(sides)} px; "
            "make them one size, or leave mpp out"
        )
    return run.mpp * sides.pop() / run.px


def _folder(run: TileRun, fold: TileFold) -> Path:
    return run.out / f"fold-{fold.index}"


def _report(data: TileSet, folds: Sequence[TileFold]) -> list[str]:
    counts = [sum(tile.label == name for tile in data.tiles) for name in data.class_names]
    classes = ", ".join(f"{name} {count}" for name, count in zip(data.class_names, counts, strict=True))
    lines = [f"{len(data.tiles)} images: {classes}"]
    groups = {tile.group for tile in data.tiles if tile.group is not None}
    alone = sum(tile.group is None for tile in data.tiles)
    if alone:
        lines.append(
            f"{alone} images name no group: if several are of one patient, the figures will be too good "
            "(class/PATIENT/image.png, or --groups)"
        )
    if groups:
        lines.append(f"{len(groups)} groups, none of them divided")
    sizes = ", ".join(f"{part} {len(numbers)}" for part, numbers in folds[0].parts())
    return [*lines, f"fold {folds[0].index}: {sizes}"]


def _digest(tiles: Sequence[Tile]) -> str:
    digest = hashlib.sha256()
    for tile in tiles:
        known = (tile.name, tile.label, tile.group, tile.split, tile.path.stat().st_size)
        digest.update(json.dumps(known).encode())
    return digest.hexdigest()


def _claim_folder(run: TileRun, data: TileSet, overwrite: bool) -> None:
    earlier = run.out / SETTINGS
    if not earlier.is_file():
        if any(run.out.glob("fold-*")):
            raise ConfigError(f"{run.out} holds folds of something else than train-tiles; choose another --out")
        return
    try:
        known = json.loads(earlier.read_text(encoding="utf-8"))
    except ValueError:
        known = {}
    now = {"identity": run.identity(), "digest": _digest(data.tiles)}
    if all(known.get(key) == value for key, value in now.items()):
        return
    if not overwrite:
        what = "other images" if known.get("identity") == now["identity"] else "other settings"
        raise ConfigError(f"{run.out} holds a training with {what}; use --overwrite, or another --out")
    for old in run.out.glob("fold-*"):
        shutil.rmtree(old)
    for name in (PREDICTIONS, TABLE, SETTINGS):
        (run.out / name).unlink(missing_ok=True)


def _lay_out(run: TileRun, data: TileSet, folds: Sequence[TileFold]) -> None:
    remove_partials(make_folder(run.out))
    write_json(run.out / "environment.json", describe_environment())
    rows = pd.DataFrame({name: [getattr(tile, name) for tile in data.tiles] for name in ("name", "label", "group")})
    for fold in folds:
        part = {number: split for split, numbers in fold.parts() for number in numbers}
        rows[f"fold-{fold.index}"] = [part[number] for number in range(len(rows))]
    with atomic_path(run.out / TABLE) as partial:
        rows.to_csv(partial, index=False)
    settings = {"settings": run.model_dump(mode="json"), "identity": run.identity(), "digest": _digest(data.tiles)}
    write_json(run.out / SETTINGS, settings)


def _result_line(folder: Path) -> str:
    table = pd.read_csv(folder / PREDICTIONS)
    test = table[table["split"] == "test"]
    names = [str(name) for name in test.columns if str(name).startswith("prob_")]
    said = [names[index] for index in test[names].to_numpy().argmax(axis=1)]
    right = sum(f"prob_{label}" == name for label, name in zip(test["label"], said, strict=True))
    losses = pd.read_csv(folder / HISTORY)["validation_loss"].tolist()
    return (
        f"{folder.name}: {len(losses)} epochs, least validation loss {min(losses):.3f} in epoch "
        f"{losses.index(min(losses)) + 1}; {right} of {len(test)} held-out images right"
    )
