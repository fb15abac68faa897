"""Folds drawn here: stratified, seeded, and never with one patient on both sides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wsi2dmamba.cohort.cases import Case, Cohort, values_of
from wsi2dmamba.cohort.config import SplitConfig
from wsi2dmamba.cohort.folds import Fold, fold_of
from wsi2dmamba.core.errors import CohortError

_STRATA_OF_NUMBERS = 4


def strata_of(cases: Sequence[Case]) -> list[str]:
    """Return the stratum of every case: class, or event × quartile of time, or quartile of the target."""
    if cases[0].label is not None:
        return [f"class {case.label}" for case in cases]
    if cases[0].time is not None:
        quartiles = _quartiles([float(case.time or 0.0) for case in cases])
        return [f"event {case.event} quartile {quartile}" for case, quartile in zip(cases, quartiles, strict=True)]
    return [f"quartile {quartile}" for quartile in _quartiles([float(case.target or 0.0) for case in cases])]


def hold_out(cases: Sequence[Case], fraction: float, seed: int) -> tuple[list[Case], list[Case]]:
    """Return (rest, held out): a stratified share of `cases`, at least one, drawn with `seed`.

    Strata of one patient are put together, since they cannot be on both sides.

    Raises
    ------
    CohortError
        If there are fewer than two cases.
    """
    if len(cases) < 2:
        raise CohortError(f"{len(cases)} patients cannot be divided; more patients or fewer folds are needed")
    rng = np.random.default_rng(seed)
    strata = _grouped(cases)
    wanted = min(max(round(fraction * len(cases)), 1), len(cases) - 1)
    # Largest remainders: every stratum gives its share, and the shares add up to `wanted`.
    shares = [fraction * len(members) for members in strata]
    taken = [int(share) for share in shares]
    by_remainder = sorted(range(len(strata)), key=lambda index: (taken[index] - shares[index], index))
    for index in by_remainder * 2:
        if sum(taken) < wanted and taken[index] < len(strata[index]) - 1:
            taken[index] += 1
    for index in by_remainder:
        if sum(taken) < wanted and taken[index] < len(strata[index]):
            taken[index] += 1
    held: set[str] = set()
    for members, count in zip(strata, taken, strict=True):
        order = rng.permutation(len(members))
        held.update(members[position].case_id for position in order[:count])
    return [case for case in cases if case.case_id not in held], [case for case in cases if case.case_id in held]


def _quartiles(values: Sequence[float]) -> list[int]:
    edges = np.quantile(np.asarray(values), np.linspace(0, 1, _STRATA_OF_NUMBERS + 1)[1:-1])
    return [int(np.searchsorted(edges, value, side="right")) for value in values]


def _grouped(cases: Sequence[Case]) -> list[list[Case]]:
    groups: dict[str, list[Case]] = {}
    for case, stratum in zip(cases, strata_of(cases), strict=True):
        groups.setdefault(stratum, []).append(case)
    return [groups[name] for name in sorted(groups)]


def kfold(cohort: Cohort, config: SplitConfig) -> list[Fold]:
    """Return `config.folds` folds; every patient is tested once.

    Raises
    ------
    CohortError
        If there are fewer patients than folds.
    """
    if len(cohort) < config.folds:
        raise CohortError(f"{len(cohort)} patients cannot make {config.folds} folds; set splits.folds lower")
    rng = np.random.default_rng(config.seed)
    fold_by_id: dict[str, int] = {}
    dealt = 0
    # Dealing stratum after stratum round the folds keeps every stratum and every fold size within one of even.
    for members in _grouped(cohort.cases):
        for position in rng.permutation(len(members)):
            fold_by_id[members[position].case_id] = dealt % config.folds
            dealt += 1
    folds = []
    for index in range(config.folds):
        test = [case for case in cohort.cases if fold_by_id[case.case_id] == index]
        rest = [case for case in cohort.cases if fold_by_id[case.case_id] != index]
        train, validation = hold_out(rest, config.validation_fraction, split_seed(config, index))
        folds.append(fold_of(index, train, validation, test))
    return folds


def monte_carlo(cohort: Cohort, config: SplitConfig) -> list[Fold]:
    """Return `config.folds` independent random divisions."""
    folds = []
    for index in range(config.folds):
        rest, test = hold_out(cohort.cases, config.test_fraction, split_seed(config, index))
        train, validation = hold_out(rest, config.validation_fraction, split_seed(config, index) + 1)
        folds.append(fold_of(index, train, validation, test))
    return folds


def leave_one_site_out(cohort: Cohort, config: SplitConfig) -> list[Fold]:
    """Return one fold per value of `config.column`, whose patients are tested.

    Raises
    ------
    CohortError
        If the column is missing or names one site only.
    """
    sites = values_of(cohort, str(config.column))
    names = sorted(set(sites.values()))
    if len(names) < 2:
        raise CohortError(f"column {config.column!r} names one site only ({names[0]}); leave-one-site-out needs two")
    folds = []
    for index, name in enumerate(names):
        test = [case for case in cohort.cases if sites[case.case_id] == name]
        rest = [case for case in cohort.cases if sites[case.case_id] != name]
        train, validation = hold_out(rest, config.validation_fraction, split_seed(config, index))
        folds.append(fold_of(index, train, validation, test))
    return folds


def split_seed(config: SplitConfig, index: int) -> int:
    """Return the seed of what is drawn for one fold."""
    return config.seed * 100_003 + 2 * index
