import csv
from collections import defaultdict

import numpy as np
import pytest
from lifelines.utils import concordance_index

from tests.shared_data import shared_path
from wsi2dmamba.evaluation.concordance import Concordance, c_index


@pytest.fixture
def patients() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    time = np.ceil(rng.exponential(8, size=120))  # whole months: many ties, events tied with censorings
    return time, rng.random(120) < 0.5, np.round(rng.normal(size=120) - time / 10, 1), rng.integers(0, 3, size=120)


def brute_force(time, event, risk, weights=None) -> float:
    weights = np.ones(len(time)) if weights is None else weights
    won = total = 0.0
    for i in np.flatnonzero(event):
        for j in range(len(time)):
            if time[j] > time[i] or (time[j] == time[i] and not event[j]):
                pair = weights[i] * weights[j]
                total += pair
                won += pair * (1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0)
    return won / total


def test_without_tied_events_it_equals_lifelines() -> None:
    rng = np.random.default_rng(0)
    time, event, risk = rng.exponential(size=80), rng.random(80) < 0.6, rng.normal(size=80)
    assert c_index(time, event, risk) == pytest.approx(concordance_index(time, -risk, event), abs=1e-12)


def test_ties_of_time_and_risk_by_the_definition(patients) -> None:
    time, event, risk, _ = patients
    assert c_index(time, event, risk) == pytest.approx(brute_force(time, event, risk), abs=1e-12)


def test_a_weighting_equals_repeated_patients(patients) -> None:
    time, event, risk, _ = patients
    drawn = np.random.default_rng(1).integers(0, 120, 120)
    weights = np.bincount(drawn, minlength=120).astype(float)
    ours = Concordance(time, event, risk, np.zeros(120, dtype=int)).measure(weights[None])[0][0]
    assert ours == pytest.approx(brute_force(time[drawn], event[drawn], risk[drawn]), abs=1e-12)


def test_pairs_of_different_folds_are_not_compared(patients) -> None:
    time, event, risk, fold = patients
    ones = np.ones((1, 120))
    plain = Concordance(time, event, risk, fold).measure(ones)[0][0]
    moved = Concordance(time, event, risk * (1 + fold) + 50 * fold, fold).measure(ones)[0][0]
    assert moved == pytest.approx(plain, abs=1e-12)
    assert plain != pytest.approx(c_index(time, event, risk), abs=1e-6)


def test_no_comparable_pair_is_not_a_number() -> None:
    assert np.isnan(c_index(np.array([1.0, 2.0]), np.array([False, False]), np.array([0.0, 1.0])))


@pytest.mark.parametrize("cohort", ["blca", "ucec"])
def test_published_c_indices_are_reproduced(cohort: str) -> None:
    folder = shared_path("data/survival")
    rows = defaultdict(list)
    with (folder / f"mcat_{cohort}_predictions.csv").open() as file:
        for row in csv.DictReader(file):
            rows[row["model"], row["fold"]].append(
                (float(row["survival_months"]), row["censorship"] in ("0", "0.0"), float(row["risk"]))
            )
    with (folder / "mcat_published_cindex.csv").open() as file:
        published = [row for row in csv.DictReader(file) if row["cohort"] == cohort]
    assert len(published) == 55
    for row in published:
        time, event, risk = (np.array(column) for column in zip(*rows[row["model"], row["fold"]], strict=True))
        assert c_index(time, event, risk) == pytest.approx(float(row["published_val_cindex"]), abs=1e-6), row
