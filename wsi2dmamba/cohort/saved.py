"""`splits.csv`: one row per patient and fold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wsi2dmamba.cohort.folds import Fold
from wsi2dmamba.cohort.reading import read_table, require_column
from wsi2dmamba.core.errors import CohortError
from wsi2dmamba.core.files import atomic_path

COLUMNS = ("case_id", "fold", "split")


def save_splits(path: Path, folds: Sequence[Fold]) -> None:
    """Write `folds` with the columns case_id, fold, split (train, validation or test)."""
    import pandas as pd

    rows = [(case_id, fold.index, part) for fold in folds for part, ids in fold.parts() for case_id in ids]
    with atomic_path(path) as partial:
        pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(partial, index=False)


def load_splits(path: Path) -> list[Fold]:
    """Read what `save_splits` wrote.

    Raises
    ------
    CohortError
        If a column is missing or a split has another name.
    """
    table = read_table(path)
    for column in COLUMNS:
        require_column(table, column, path, "a splits file")
    odd = sorted(set(table["split"].dropna()) - {"train", "validation", "test"})
    if odd:
        raise CohortError(f"{path}: split is {odd[0]!r}; it must be train, validation or test")
    folds = []
    for index in sorted(table["fold"].astype(int).unique()):
        rows = table[table["fold"].astype(int) == index]
        parts = [tuple(sorted(rows["case_id"][rows["split"] == part])) for part in ("train", "validation", "test")]
        folds.append(Fold(int(index), *parts))
    return folds
