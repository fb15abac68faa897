"""How the patients are divided, by `splits.kind`."""

from __future__ import annotations

from wsi2dmamba.cohort import drawn, given
from wsi2dmamba.cohort.cases import Cohort
from wsi2dmamba.cohort.config import CohortConfig, SplitConfig
from wsi2dmamba.cohort.folds import Fold, check_fold, weak_spots

__all__ = ["Fold", "check_fold", "make_splits", "weak_spots"]


def make_splits(cohort: Cohort, config: SplitConfig, table: CohortConfig | None = None) -> list[Fold]:
    """Divide the patients of `cohort`.

    Parameters
    ----------
    cohort
        Patients; strata are classes, or event × quartile of time, or quartiles of the target.
    config
        How to divide them.
    table
        The settings of the table; needed by ``kind: column`` (a patient's slides must agree there).

    Returns
    -------
    list of Fold
        The same for the same cohort and settings.

    Raises
    ------
    CohortError
        Too few patients, a missing or contradictory column or file, a patient in two parts, or a training part
        without one of the classes or without an event.
    """
    if config.kind == "kfold":
        folds = drawn.kfold(cohort, config)
    elif config.kind == "montecarlo":
        folds = drawn.monte_carlo(cohort, config)
    elif config.kind == "site":
        folds = drawn.leave_one_site_out(cohort, config)
    elif config.kind == "column":
        folds = given.folds_from_column(cohort, config, table)
    else:
        folds = given.folds_from_files(cohort, config)
    for fold in folds:
        check_fold(fold, cohort)
    return folds
