import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from wsi2dmamba.evaluation.ranking import average_precision, pair_auc


@pytest.fixture
def scored() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    truth = rng.random(200) < 0.3
    score = np.round(rng.normal(size=200) + truth, 1)  # rounded: many ties
    weights = rng.multinomial(200, np.full(200, 1 / 200), size=7).astype(float)
    return score, truth, weights, rng.integers(0, 4, size=200)


def test_auc_equals_scikit_learn_for_every_weighting(scored) -> None:
    score, truth, weights, _ = scored
    ours = pair_auc(score, weights * truth, weights * ~truth, np.zeros(200, dtype=int))
    theirs = [roc_auc_score(truth, score, sample_weight=w) for w in weights]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


def test_auc_within_folds_counts_the_pairs_of_each_fold(scored) -> None:
    score, truth, weights, fold = scored
    ours = pair_auc(score, weights * truth, weights * ~truth, fold)
    for k, row in enumerate(weights):
        wins = pairs = 0.0
        for f in range(4):
            positive, negative = (fold == f) & truth, (fold == f) & ~truth
            here = row[positive].sum() * row[negative].sum()
            wins += here * roc_auc_score(truth[fold == f], score[fold == f], sample_weight=row[fold == f])
            pairs += here
        assert ours[k] == pytest.approx(wins / pairs, abs=1e-12)


def test_auc_within_folds_ignores_the_scale_of_a_fold(scored) -> None:
    score, truth, weights, fold = scored
    moved = score * (1 + fold) + 100.0 * fold
    same = pair_auc(score, weights * truth, weights * ~truth, fold)
    np.testing.assert_allclose(pair_auc(moved, weights * truth, weights * ~truth, fold), same, atol=1e-12)


def test_average_precision_equals_scikit_learn(scored) -> None:
    score, truth, weights, _ = scored
    theirs = [average_precision_score(truth, score, sample_weight=w) for w in weights]
    np.testing.assert_allclose(average_precision(score, truth, weights), theirs, rtol=0, atol=1e-12)


def test_without_a_class_the_auc_is_not_a_number() -> None:
    assert np.isnan(pair_auc(np.arange(3.0), np.ones((1, 3)), np.zeros((1, 3)), np.zeros(3, dtype=int)))[0]
