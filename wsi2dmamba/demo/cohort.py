"""The patients of the demo: pairs that share every patch and differ in where the patches lie.

Because the two patients of a pair have the same patches (and the same stain), nothing that ignores position can tell
them apart: not the composition, not any pooling over patches. The two are always in the same fold, so that a model
that learned one of them by heart cannot be misled, or helped, on the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from wsi2dmamba.core.files import atomic_path
from wsi2dmamba.demo.layout import Composition, arrange, random_composition
from wsi2dmamba.demo.stain import Stain
from wsi2dmamba.demo.tiles import ROLES, TileBank

PHENOTYPES = ("excluded", "inflamed")
"""Lymphocytes in a rim around the tumour, or spread through it."""


@dataclass(frozen=True)
class CohortPlan:
    """What the cohort shall be.

    Attributes
    ----------
    patients
        Number of patients, even.
    side
        Lattice cells along each side of a slide.
    folds
        Numbers in the `fold` column of the cohort table.
    two_slides_share
        Share of the patients that have two slides.
    seed
        The same seed makes the same cohort.
    hazard_ratio
        Hazard of a patient whose lymphocytes are all in the rim over one whose are all spread.
    censored_by_months
        Mean time until a patient is lost from sight.
    """

    patients: int = 96
    side: int = 14
    folds: int = 4
    two_slides_share: float = 0.25
    seed: int = 0
    hazard_ratio: float = 60.0
    censored_by_months: float = 60.0


@dataclass(frozen=True)
class SlidePlan:
    """Everything that one slide is drawn from.

    Attributes
    ----------
    slide_id, case_id
        Whose it is.
    layout
        (side, side) int8, an index into `ROLES` or `GLASS`.
    patches
        For every role the (index in the bank, one of 8 symmetries) of its patches, in the order they are laid.
    stain
        How the slide is stained.
    seed
        Of the outline of the tissue and the noise of the glass.
    """

    slide_id: str
    case_id: str
    layout: NDArray[np.int8]
    patches: dict[str, NDArray[np.int64]]
    stain: Stain
    seed: tuple[int, ...]


@dataclass(frozen=True)
class CasePlan:
    """One patient.

    Attributes
    ----------
    case_id
        Name.
    phenotype
        One of `PHENOTYPES`.
    mixing
        Share of the infiltrate that is spread through the tumour.
    months, event
        Time until death (event 1) or until lost from sight (event 0).
    fold
        Which fold judges the patient.
    slides
        One or two.
    """

    case_id: str
    phenotype: str
    mixing: float
    months: float
    event: int
    fold: int
    slides: tuple[SlidePlan, ...]


def plan_cohort(plan: CohortPlan, bank: TileBank) -> list[CasePlan]:
    """Return every patient of the cohort, ordered by case id; nothing is drawn yet."""
    pairs = plan.patients // 2
    rng = np.random.default_rng([plan.seed, 1])
    numbers = rng.permutation(2 * pairs)
    twice = set(rng.permutation(pairs)[: round(plan.two_slides_share * pairs)].tolist())
    cases = []
    for pair in range(pairs):
        two_slides = 2 if pair in twice else 1
        cases += _plan_pair(plan, bank, pair, two_slides, (int(numbers[2 * pair]), int(numbers[2 * pair + 1])))
    return sorted(cases, key=lambda case: case.case_id)


def _plan_pair(plan: CohortPlan, bank: TileBank, pair: int, slides: int, numbers: tuple[int, int]) -> list[CasePlan]:
    rng = np.random.default_rng([plan.seed, 2, pair])
    shared = [_SharedParts.random(rng, plan.side, bank) for _ in range(slides)]
    cases = []
    for member, phenotype in enumerate(PHENOTYPES):
        case_id = f"P{numbers[member] + 1:03d}"
        mixing = float(rng.uniform(0.0, 0.2) if phenotype == "excluded" else rng.uniform(0.8, 1.0))
        months, event = _outcome(rng, mixing, plan)
        planned = tuple(
            SlidePlan(
                slide_id=f"{case_id}-{'AB'[index]}",
                case_id=case_id,
                layout=arrange(parts.composition, plan.side, mixing, rng),
                patches={role: rng.permutation(patches) for role, patches in parts.patches.items()},
                stain=parts.stain,
                seed=(plan.seed, 3, pair, member, index),
            )
            for index, parts in enumerate(shared)
        )
        cases.append(CasePlan(case_id, phenotype, mixing, months, event, pair % plan.folds, planned))
    return cases


@dataclass(frozen=True)
class _SharedParts:
    """What the slides of the two patients of a pair have in common."""

    composition: Composition
    patches: dict[str, NDArray[np.int64]]
    stain: Stain

    @classmethod
    def random(cls, rng: np.random.Generator, side: int, bank: TileBank) -> _SharedParts:
        composition = random_composition(rng, side, bank.roles)
        patches = {
            role: np.stack([rng.integers(len(bank.files[role]), size=count), rng.integers(8, size=count)], axis=1)
            for role, count in composition.counts().items()
            if count
        }
        return cls(composition, patches, Stain.random(rng))


def _outcome(rng: np.random.Generator, mixing: float, plan: CohortPlan) -> tuple[float, int]:
    """Return (months, event): Weibull survival (shape 1.5) whose hazard falls with `mixing`, independent censoring."""
    hazard = plan.hazard_ratio ** (0.5 - mixing)
    survival = 24.0 * (rng.exponential() / hazard) ** (1 / 1.5)
    censoring = rng.exponential(plan.censored_by_months)
    return round(float(max(min(survival, censoring), 0.1)), 2), int(survival <= censoring)


def write_cohort(path: Path, cases: list[CasePlan]) -> None:
    """Write the cohort table (one row per slide), and `layout.csv` beside it: what lies in every cell.

    Parameters
    ----------
    path
        ``cohort.csv``: slide_id, case_id, phenotype, months, event, fold.
    cases
        The planned patients.
    """
    rows = [
        {
            "slide_id": slide.slide_id,
            "case_id": case.case_id,
            "phenotype": case.phenotype,
            "months": case.months,
            "event": case.event,
            "fold": case.fold,
        }
        for case in cases
        for slide in case.slides
    ]
    with atomic_path(path) as partial:
        pd.DataFrame(rows).to_csv(partial, index=False)
    cells = [
        {"slide_id": slide.slide_id, "row": int(row), "col": int(column), "kind": ROLES[slide.layout[row, column]]}
        for case in cases
        for slide in case.slides
        for row, column in np.argwhere(slide.layout >= 0)
    ]
    with atomic_path(path.with_name("layout.csv")) as partial:
        pd.DataFrame(cells).to_csv(partial, index=False)
