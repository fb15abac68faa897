"""Splits that someone else made: a column of the table, or CLAM-style wide files."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wsi2dmamba.cohort.cases import Case, Cohort, values_of
from wsi2dmamba.cohort.config import CohortConfig, SplitConfig
from wsi2dmamba.cohort.drawn import hold_out, split_seed
from wsi2dmamba.cohort.folds import Fold, fold_of
from wsi2dmamba.cohort.reading import read_table, require_column, slide_id_of, some_of
from wsi2dmamba.cohort.saved import COLUMNS, load_splits
from wsi2dmamba.core.errors import CohortError

if TYPE_CHECKING:
    import pandas as pd

# What published tables write, after lower-casing and dropping everything but letters.
_PART_NAMES = {
    "train": "train", "training": "train", "trainset": "train", "tr": "train",
    "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation", "tune": "validation",
    "test": "test", "testing": "test", "testset": "test", "holdout": "test",
}  # fmt: skip


def folds_from_column(cohort: Cohort, config: SplitConfig, table: CohortConfig | None) -> list[Fold]:
    """Return the folds that a column of the table gives.

    The column says train, validation or test (one fold), or the number of the fold in which a patient is tested.
    Without validation patients, a share of the training patients is held back.

    Raises
    ------
    CohortError
        An unknown word, or a patient whose slides lie in different parts.
    """
    column = str(config.column)
    if table is not None:
        _check_slides_agree(cohort, column, table)
    values = values_of(cohort, column)
    parts = {case_id: part_name(value) for case_id, value in values.items()}
    if all(part is not None for part in parts.values()):
        chosen = {
            part: [case for case in cohort.cases if parts[case.case_id] == part]
            for part in ("train", "validation", "test")
        }
        return [_completed(0, chosen["train"], chosen["validation"], chosen["test"], config)]
    numbers = sorted(set(values.values()))
    if not all(re.fullmatch(r"\d+(\.0)?", value) for value in numbers):
        odd = next(value for value in numbers if part_name(value) is None and not value.isdigit())
        raise CohortError(
            f"column {column!r} (splits.column) says {odd!r}; it must say train, validation or test, or a fold number"
        )
    folds = []
    for index, value in enumerate(sorted(numbers, key=float)):
        test = [case for case in cohort.cases if values[case.case_id] == value]
        rest = [case for case in cohort.cases if values[case.case_id] != value]
        folds.append(_completed(index, rest, [], test, config))
    return folds


def part_name(text: str) -> str | None:
    """Return train, validation or test for the words tables use for them; None for anything else."""
    return _PART_NAMES.get(re.sub(r"[^a-z]", "", text.lower()))


def folds_from_files(cohort: Cohort, config: SplitConfig) -> list[Fold]:
    """Return the folds of CLAM-style wide files, one file per fold.

    Columns `train`, `val` and `test` list slide or patient ids; or (CLAM's `_bool` files) the first column lists ids
    and the three others are true or false. A file without `test` (5-fold cross-validation, as survival papers
    publish it) is tested on `val`, and the validation patients are held back from `train`: choosing the model on the
    patients it is tested on would flatter it. Ids that are not in the cohort are ignored. One file with the columns
    case_id, fold and split (what `wsi2dmamba splits` writes) gives all its folds.

    Raises
    ------
    CohortError
        A missing file or column, no id known, or a patient in two parts.
    """
    paths = split_files(config)
    if len(paths) == 1 and set(COLUMNS) <= set(read_table(paths[0]).columns):
        return [_within(fold, cohort) for fold in load_splits(paths[0])]
    return [_fold_from_file(index, path, cohort, config) for index, path in enumerate(paths)]


def split_files(config: SplitConfig) -> list[Path]:
    """Return the files of `splits.files`, patterns resolved, in natural order (`splits_2` before `splits_10`).

    Raises
    ------
    CohortError
        If a path or pattern finds nothing.
    """
    patterns = [config.files] if isinstance(config.files, str) else list(config.files or [])
    paths: list[Path] = []
    for pattern in patterns:
        found = sorted(glob.glob(pattern), key=_natural_key)  # noqa: PTH207 (patterns may be absolute)
        if not found:
            raise CohortError(f"no split file matches {pattern!r} (splits.files)")
        paths.extend(Path(name) for name in found)
    return paths


def _within(fold: Fold, cohort: Cohort) -> Fold:
    present = cohort.by_id()
    parts = {part: [present[case_id] for case_id in ids if case_id in present] for part, ids in fold.parts()}
    return fold_of(fold.index, parts["train"], parts["validation"], parts["test"])


def _natural_key(name: str) -> list[tuple[int, str]]:
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"(\d+)", name)]


def _fold_from_file(index: int, path: Path, cohort: Cohort, config: SplitConfig) -> Fold:
    listed = _listed_ids(read_table(path), path)
    case_by_name = {slide: case for case in cohort.cases for slide in case.slide_ids}
    case_by_name.update({case.case_id: case for case in cohort.cases})
    parts: dict[str, list[Case]] = {}
    part_of: dict[str, str] = {}
    for part, names in listed.items():
        known = {case_by_name[name].case_id: case_by_name[name] for name in names if name in case_by_name}
        for case_id in known:
            if part_of.setdefault(case_id, part) != part:
                raise CohortError(
                    f"{path}: patient {case_id} is in both {part_of[case_id]} and {part} (leakage); correct the file"
                )
        parts[part] = list(known.values())
    if not part_of:
        some = some_of([name for names in listed.values() for name in names], 1)
        raise CohortError(f"{path}: none of its ids is a slide or patient of the cohort (it lists {some})")
    return _completed(index, parts["train"], parts.get("validation", []), parts.get("test", []), config)


def _listed_ids(table: pd.DataFrame, path: Path) -> dict[str, list[str]]:
    columns = {part_name(str(name)): str(name) for name in table.columns if part_name(str(name))}
    if "train" not in columns:
        require_column(table, "train", path, "splits.files")
    if not {"validation", "test"} & set(columns):
        raise CohortError(f"{path} has neither a val nor a test column; it has {', '.join(map(str, table.columns))}")
    ids = {part: table[name].dropna() for part, name in columns.items() if part}
    if all(values.str.lower().isin(["true", "false"]).all() for values in ids.values()):
        first = table[table.columns[0]]
        ids = {part: first[values.index[values.str.lower() == "true"]] for part, values in ids.items()}
    return {part: [slide_id_of(value) for value in values] for part, values in ids.items()}


def _completed(
    index: int, train: Sequence[Case], validation: Sequence[Case], test: Sequence[Case], config: SplitConfig
) -> Fold:
    if not test:
        validation, test = [], validation
    if not validation and len(train) > 1:
        train, validation = hold_out(train, config.validation_fraction, split_seed(config, index))
    return fold_of(index, train, validation, test)


def _check_slides_agree(cohort: Cohort, column: str, table: CohortConfig) -> None:
    # `Case.extra` keeps a patient's first row only; here every row counts.
    frame = read_table(table.csv)
    if column not in frame.columns:
        return
    by_slide = dict(zip(frame[table.slide_column].map(slide_id_of), frame[column], strict=True))
    for case in cohort.cases:
        said = {by_slide.get(slide) for slide in case.slide_ids}
        if len(said) > 1:
            words = " and ".join(sorted(map(str, said)))
            raise CohortError(
                f"{table.csv}: the slides of patient {case.case_id} are in {words} by column {column!r} (leakage); "
                "put all slides of a patient in one part"
            )
