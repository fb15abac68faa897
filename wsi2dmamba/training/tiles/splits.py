"""Which patches train, validate and test: whole groups, classes in like shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.core.errors import InputError
from wsi2dmamba.training.tiles.table import Tile

PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class TileFold:
    """One division of the patches.

    Attributes
    ----------
    index
        Its number.
    train, validation, test
        Indices of the patches.
    """

    index: int
    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]

    def parts(self) -> list[tuple[str, tuple[int, ...]]]:
        """Return (name, indices) of the three parts."""
        return [("train", self.train), ("validation", self.validation), ("test", self.test)]


def divide(tiles: Sequence[Tile], parts: int, folds: int, seed: int) -> list[TileFold]:
    """Divide patches into training, validation and test, never dividing a group.

    Parameters
    ----------
    tiles
        The patches; if they name their split, that is the only division.
    parts
        Groups are dealt into so many parts, with classes as equally spread as the groups allow.
    folds
        Fold i tests part i, validates on the next one, and trains on the others.
    seed
        Of the dealing.

    Raises
    ------
    InputError
        If there are too few groups, a given split divides a group, or a class is missing in training or test.
    """
    given = [tile.split for tile in tiles if tile.split is not None]
    if given:
        if len(given) < len(tiles) or folds > 1:
            raise InputError("a split column must name every patch's split, and goes with one fold")
        made = [_given(tiles)]
    else:
        made = _dealt(tiles, parts, folds, seed)
    for fold in made:
        _check(tiles, fold)
    return made


def _given(tiles: Sequence[Tile]) -> TileFold:
    members = {part: tuple(i for i, tile in enumerate(tiles) if tile.split == part) for part in PARTS}
    seen: dict[str, str] = {}
    for tile in tiles:
        if tile.group is not None and seen.setdefault(tile.group, tile.split or "") != tile.split:
            raise InputError(f"group {tile.group!r} is in both {seen[tile.group]} and {tile.split}")
    return TileFold(0, members["train"], members["validation"], members["test"])


def _dealt(tiles: Sequence[Tile], parts: int, folds: int, seed: int) -> list[TileFold]:
    from sklearn.model_selection import StratifiedGroupKFold

    # The prefixes keep a group apart from an image that happens to have its name.
    groups = [f"g:{tile.group}" if tile.group is not None else f"i:{tile.name}" for tile in tiles]
    labels = [tile.label for tile in tiles]
    for label in sorted(set(labels)):
        count = len({group for group, own in zip(groups, labels, strict=True) if own == label})
        if count < parts:
            raise InputError(f"class {label!r} has {count} groups, too few for {parts} parts; lower --parts (least: 3)")
    dealer = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    dealt: list[NDArray[np.intp]] = [held for _, held in dealer.split(labels, labels, groups)]
    made = []
    for index in range(folds):
        test, validation = dealt[index], dealt[(index + 1) % parts]
        train = sorted(set(range(len(tiles))) - set(test.tolist()) - set(validation.tolist()))
        made.append(TileFold(index, tuple(train), tuple(validation.tolist()), tuple(test.tolist())))
    return made


def _check(tiles: Sequence[Tile], fold: TileFold) -> None:
    classes = {tile.label for tile in tiles}
    for part, members in fold.parts():
        missing = sorted(classes - {tiles[index].label for index in members})
        if missing and (part == "train" or not members):
            raise InputError(
                f"fold {fold.index}: {part} has no image of class {missing[0]!r}, which has too few groups"
            )
