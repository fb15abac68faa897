"""Checked predictions, as a table and as arrays."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Task = Literal["classification", "ordinal", "survival", "regression"]
SURVIVAL_PREFIX = "survival_"


@dataclass(frozen=True)
class Cuts:
    """Operating points that were fixed before, on other patients.

    Attributes
    ----------
    thresholds
        Probability of each class from which a case is called positive; empty outside classification.
    from_validation
        Whether all of them were chosen on validation patients.
    risk
        Risk above which a patient is at high risk; None outside survival.
    """

    thresholds: tuple[float, ...] = ()
    from_validation: bool = True
    risk: float | None = None


@dataclass(frozen=True)
class Predictions:
    """Checked predictions of one system.

    Attributes
    ----------
    table
        Columns case_id (str), fold (int), seed (int), split, then per task: label and prob_<class>; time, event
        (bool), risk and survival_<t>; target and prediction; and whatever else the table carried.
    task
        What was predicted.
    class_names
        Classes in the order of their prob_ columns; the order is meant in ordinal tasks.
    survival_times
        The t of the survival_<t> columns, ascending.
    notes
        What was done to the table and should be read with the result.
    cuts
        Operating points that come with the predictions; None: they are chosen on the table's own validation and
        training rows.
    """

    table: pd.DataFrame
    task: Task
    class_names: tuple[str, ...] = ()
    survival_times: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()
    cuts: Cuts | None = None

    @property
    def probability_columns(self) -> list[str]:
        """Names of the probability columns, in class order."""
        return [f"prob_{name}" for name in self.class_names]

    @property
    def survival_columns(self) -> list[str]:
        """Names of the survival probability columns, by time."""
        columns = [str(c) for c in self.table if is_survival_column(str(c))]
        named = {float(c.removeprefix(SURVIVAL_PREFIX)): c for c in columns}
        return [named[t] for t in self.survival_times]

    def rows(self, split: str) -> Rows:
        """Return the rows of one split as arrays."""
        return Rows.of(self, self.table[self.table["split"] == split])


@dataclass(frozen=True)
class Rows:
    """Rows of a predictions table as arrays; what a task does not have is empty.

    Attributes
    ----------
    case
        (n,) int, number of the row's patient in `case_ids`.
    case_ids
        Patient of each number.
    fold, seed
        (n,) int.
    label
        (n,) int, number of the true class.
    probability
        (n, classes).
    time, event, risk
        (n,) follow-up, bool event, predicted risk (higher = sooner).
    survival
        (n, times) predicted survival probabilities, NaN where the row's fold has no such column.
    target, prediction
        (n,) of a regression.
    high, risk_sd
        (n,) whether the row is in the high-risk group, and its risk in standard deviations of its fold and seed;
        empty until the groups are made (`riskgroups.with_groups`).
    """

    case: NDArray[np.int64]
    case_ids: tuple[str, ...]
    fold: NDArray[np.int64]
    seed: NDArray[np.int64]
    label: NDArray[np.int64]
    probability: NDArray[np.float64]
    time: NDArray[np.float64]
    event: NDArray[np.bool_]
    risk: NDArray[np.float64]
    survival: NDArray[np.float64]
    target: NDArray[np.float64]
    prediction: NDArray[np.float64]
    high: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, dtype=bool))
    risk_sd: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(self.case)

    @classmethod
    def of(cls, predictions: Predictions, table: pd.DataFrame) -> Rows:
        """Return the rows of `table`, a part of the predictions' table."""
        numbers, case_ids = pd.factorize(table["case_id"])
        classes = {name: index for index, name in enumerate(predictions.class_names)}

        def column(name: str) -> NDArray[np.float64]:
            return table[name].to_numpy(np.float64) if name in table else np.empty(0)

        return cls(
            case=numbers.astype(np.int64),
            case_ids=tuple(case_ids),
            fold=table["fold"].to_numpy(np.int64),
            seed=table["seed"].to_numpy(np.int64),
            label=np.array([classes[name] for name in table["label"]] if classes else [], dtype=np.int64),
            probability=table[predictions.probability_columns].to_numpy(np.float64),
            time=column("time"),
            event=column("event").astype(bool),
            risk=column("risk"),
            survival=table[predictions.survival_columns].to_numpy(np.float64),
            target=column("target"),
            prediction=column("prediction"),
        )

    def only(self, chosen: NDArray[np.bool_]) -> Rows:
        """Return the chosen rows, their patients numbered as before."""

        def part(array: NDArray[Any]) -> NDArray[Any]:
            return array[chosen] if len(array) else array

        arrays = {name: part(getattr(self, name)) for name in self.__dataclass_fields__ if name != "case_ids"}
        return Rows(**arrays, case_ids=self.case_ids)

    def where(self, chosen: NDArray[np.bool_]) -> Rows:
        """Return the chosen rows with their patients alone, numbered anew."""
        rows = self.only(chosen)
        kept, renumbered = np.unique(rows.case, return_inverse=True)
        return replace(rows, case=renumbered.astype(np.int64), case_ids=tuple(self.case_ids[k] for k in kept))


def is_survival_column(name: str) -> bool:
    """Tell whether `name` is survival_<t> with a time t ≥ 0."""
    try:
        return name.startswith(SURVIVAL_PREFIX) and float(name.removeprefix(SURVIVAL_PREFIX)) >= 0
    except ValueError:
        return False
