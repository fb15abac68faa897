import numpy as np
import pytest
from sklearn import metrics as sk

from tests.evaluation.made_up import classification_table
from wsi2dmamba.evaluation.classification import ClassificationMetrics, choose_operating_points
from wsi2dmamba.evaluation.predictions import read_predictions


@pytest.mark.parametrize("classes", [2, 4])
def test_every_metric_of_a_resample_equals_scikit_learn_on_the_repeated_rows(classes: int) -> None:
    predictions = read_predictions(classification_table(classes=classes, folds=1, signal=0.8), task="ordinal")
    rows = predictions.rows("test")
    points = choose_operating_points(rows, predictions.rows("validation"), 0.3)
    measured = ClassificationMetrics(rows, predictions.class_names, points.called_positive(rows), 10, True)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(rows), len(rows))
    result = {k: v[0] for k, v in measured(np.bincount(drawn, minlength=len(rows))[None].astype(float)).items()}

    truth, probability = rows.label[drawn], rows.probability[drawn]
    called = probability.argmax(axis=1)
    scores = probability[:, 1] if classes == 2 else probability
    one_hot = np.eye(classes)[truth]
    expected = {
        "auc": sk.roc_auc_score(truth, scores, multi_class="ovr"),
        "average_precision": sk.average_precision_score(truth if classes == 2 else one_hot, scores),
        "accuracy": sk.accuracy_score(truth, called),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, called),
        "f1": sk.f1_score(truth, called, average="macro"),
        "kappa": sk.cohen_kappa_score(truth, called),
        "kappa_quadratic": sk.cohen_kappa_score(truth, called, weights="quadratic"),
        "brier": sk.brier_score_loss(truth, scores)
        if classes == 2
        else ((probability - one_hot) ** 2).sum(axis=1).mean(),
    }
    last = classes - 1
    positive, above = truth == last, probability[:, last] >= 0.3
    suffix = "" if classes == 2 else f"/c{last}"
    expected[f"sensitivity{suffix}"] = sk.recall_score(positive, above)
    expected[f"specificity{suffix}"] = sk.recall_score(~positive, ~above)
    for name, value in expected.items():
        assert result[name] == pytest.approx(value, abs=1e-12), name


def test_calibration_error_by_hand() -> None:
    table = classification_table(patients=4, folds=1, validation=False)
    table[["prob_c0", "prob_c1"]] = [[0.05, 0.95], [0.05, 0.95], [0.05, 0.95], [0.35, 0.65]]
    table["label"] = ["c1", "c1", "c0", "c0"]
    predictions = read_predictions(table)
    rows = predictions.rows("test")
    points = choose_operating_points(rows, predictions.rows("validation"), "youden")
    value = ClassificationMetrics(rows, predictions.class_names, points.called_positive(rows), 10, False)(
        np.ones((1, 4))
    )["ece"][0]
    assert value == pytest.approx(0.75 * abs(2 / 3 - 0.95) + 0.25 * 0.65)


def test_thresholds_come_from_the_folds_own_validation_rows_only() -> None:
    table = classification_table(patients=120, rounding=4)
    predictions = read_predictions(table)
    test, validation = predictions.rows("test"), predictions.rows("validation")
    points = choose_operating_points(test, validation, "youden")
    assert points.from_validation
    for (fold, seed), thresholds in points.thresholds.items():
        rows = (validation.fold == fold) & (validation.seed == seed)
        score, truth = validation.probability[rows, 1], validation.label[rows] == 1

        def gain(cut: float, score: np.ndarray = score, truth: np.ndarray = truth) -> float:
            return float((score[truth] >= cut).mean() - (score[~truth] >= cut).mean())

        assert gain(thresholds[1]) == pytest.approx(max(gain(cut) for cut in score))


def test_without_validation_rows_the_threshold_is_one_half_and_said() -> None:
    predictions = read_predictions(classification_table(validation=False))
    points = choose_operating_points(predictions.rows("test"), predictions.rows("validation"), "youden")
    assert not points.from_validation
    assert all((value == 0.5).all() for value in points.thresholds.values())
