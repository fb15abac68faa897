"""Composition cannot tell the demo's two phenotypes apart; arrangement can; survival follows it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lifelines.utils import concordance_index

from wsi2dmamba.demo.cohort import CohortPlan, plan_cohort, write_cohort
from wsi2dmamba.demo.tiles import ROLES, TileBank

BANK = TileBank({role: tuple(Path(f"{role}-{index}.png") for index in range(9)) for role in ROLES})


@pytest.fixture(scope="module")
def cases():
    return plan_cohort(CohortPlan(), BANK)


def test_every_pair_shares_all_patches_and_stains(cases):
    """Each patient has exactly one partner of the other phenotype, in the same fold, with the very same patches."""

    def parts(case):
        patches = [Counter((r, *p) for r, ps in s.patches.items() for p in ps.tolist()).items() for s in case.slides]
        return case.fold, tuple(frozenset(p) for p in patches), tuple(slide.stain for slide in case.slides)

    excluded = Counter(parts(case) for case in cases if case.phenotype == "excluded")
    assert excluded == Counter(parts(case) for case in cases if case.phenotype == "inflamed")
    assert len(excluded) == len(cases) // 2


def test_folds_are_balanced_and_some_patients_have_two_slides(cases):
    counts = pd.crosstab([case.fold for case in cases], [case.phenotype for case in cases])
    assert (counts["excluded"] == counts["inflamed"]).all() and len(counts) == CohortPlan().folds
    assert sum(len(case.slides) == 2 for case in cases) == len(cases) // 4


def test_patches_fill_the_layout(cases):
    for slide in (slide for case in cases for slide in case.slides):
        for number, role in enumerate(ROLES):
            assert len(slide.patches.get(role, ())) == (slide.layout == number).sum()


@pytest.mark.parametrize("seed", range(3))
def test_survival_follows_the_arrangement_with_noise_and_censoring(seed):
    cases = plan_cohort(CohortPlan(seed=seed, patients=400), BANK)
    months, mixing, event = (np.array([getattr(c, name) for c in cases]) for name in ("months", "mixing", "event"))
    assert 0.7 < concordance_index(months, mixing, event) < 0.85
    assert 0.15 < 1 - event.mean() < 0.5


def test_same_seed_same_cohort_another_seed_another(cases, tmp_path):
    tables = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_cohort(tmp_path / name / "cohort.csv", plan_cohort(CohortPlan(seed=seed), BANK))
        tables.append([(tmp_path / name / file).read_bytes() for file in ("cohort.csv", "layout.csv")])
    assert tables[0] == tables[1] != tables[2]


def test_tables_say_what_was_planned(cases, tmp_path):
    write_cohort(tmp_path / "cohort.csv", cases)
    table = pd.read_csv(tmp_path / "cohort.csv")
    assert list(table) == ["slide_id", "case_id", "phenotype", "months", "event", "fold"]
    assert table.slide_id.is_unique and table.case_id.nunique() == len(cases)
    cells = pd.read_csv(tmp_path / "layout.csv").merge(table, on="slide_id")
    counts = pd.crosstab(cells["phenotype"], cells["kind"])
    assert (counts.loc["excluded"] == counts.loc["inflamed"]).all()
