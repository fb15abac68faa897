"""Settings of the cohort table and of the splits."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from wsi2dmamba.core.validation import Settings


class CohortConfig(Settings):
    """Which columns of the cohort CSV mean what.

    Attributes
    ----------
    csv
        One row per slide; `.csv`, `.csv.zip` or `.csv.gz`.
    slide_column, case_column
        Slide id (a `.svs` at the end is ignored) and patient. ``case_column: null`` makes every slide its own patient.
    case_pattern
        Regular expression whose first group is the patient in `case_column`'s values, where they say more than that:
        ``"^(.{12})"`` for TCGA barcodes.
    label_column
        The class, for classification and ordinal tasks.
    label_map
        Table value → class name. With a map, rows of other values are left out (and counted).
    class_names
        Order of the classes; without it numeric classes are sorted by value, others by name.
    time_column, event_column, censorship_column
        Follow-up time with either an event column (1 = event) or a censorship column (1 = censored).
    target_column
        The number to predict, for regression.
    where
        Column → values to keep, e.g. ``{oncotree_code: [LUAD]}``.
    """

    csv: Path
    slide_column: str = "slide_id"
    case_column: str | None = "case_id"
    case_pattern: str | None = None
    label_column: str | None = None
    label_map: dict[str | int | float, str | int] | None = None
    class_names: list[str] | None = None
    time_column: str | None = None
    event_column: str | None = None
    censorship_column: str | None = None
    target_column: str | None = None
    where: dict[str, list[str | int | float]] = Field(default_factory=dict)

    @field_validator("case_pattern")
    @classmethod
    def _has_a_group(cls, value: str | None) -> str | None:
        try:
            groups = re.compile(value).groups if value is not None else 1
        except re.error as error:
            raise ValueError(f"is no regular expression ({error})") from error
        if groups != 1:
            raise ValueError("needs one group, the patient, in round brackets")
        return value

    @model_validator(mode="after")
    def _one_event_column(self) -> CohortConfig:
        if self.event_column and self.censorship_column:
            raise ValueError("give event_column or censorship_column, not both")
        if self.time_column and not (self.event_column or self.censorship_column):
            raise ValueError("time_column needs event_column (1 = event) or censorship_column (1 = censored)")
        if not (self.label_column or self.time_column or self.target_column):
            raise ValueError("needs label_column, or time_column with an event column, or target_column")
        return self


class SplitConfig(Settings):
    """How patients are divided into training, validation and test.

    Attributes
    ----------
    kind
        ``kfold`` (stratified), ``montecarlo`` (repeated random), ``site`` (leave one site out by `column`), ``column``
        (the table says it: train/val/test, or a fold number), or ``files`` (CLAM-style wide files).
    folds
        Number of folds or repetitions made here.
    validation_fraction, test_fraction
        Share of the patients not tested that is held back to choose the model, and of all patients that is tested
        (`montecarlo` only).
    seed
        Of everything drawn here.
    column
        For `column` and `site`.
    files
        For `files`: paths or a pattern such as ``splits/splits_*.csv``, one file per fold.
    """

    kind: Literal["kfold", "montecarlo", "site", "column", "files"] = "kfold"
    folds: int = Field(5, ge=1)
    validation_fraction: float = Field(0.15, gt=0, lt=1)
    test_fraction: float = Field(0.2, gt=0, lt=1)
    seed: int = Field(0, ge=0)
    column: str | None = None
    files: str | list[str] | None = None

    @model_validator(mode="after")
    def _source_of_given_splits(self) -> SplitConfig:
        if self.kind in ("column", "site") and not self.column:
            raise ValueError(f"kind: {self.kind} needs column")
        if self.kind == "files" and not self.files:
            raise ValueError("kind: files needs files")
        if self.kind == "kfold" and self.folds < 2:
            raise ValueError("kind: kfold needs at least 2 folds (use montecarlo for a single split)")
        return self
