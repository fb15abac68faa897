from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from lifelines import CoxPHFitter

from tests.cohort.tables import labelled_cohort, survival_cohort
from wsi2dmamba.cohort.cases import Case, Cohort
from wsi2dmamba.core.errors import CheckpointError, ConfigError
from wsi2dmamba.training.config import TaskConfig
from wsi2dmamba.training.tasks import make_task, task_from_state
from wsi2dmamba.training.tasks.survival import DiscreteSurvival, quantile_edges

COHORTS = {
    "classification": labelled_cohort({"a": 3, "b": 6, "c": 1}),
    "ordinal": labelled_cohort({"a": 3, "b": 6, "c": 1}),
    "survival": survival_cohort(20),
    "cox": survival_cohort(20),
    "regression": Cohort(
        tuple(Case(f"p{i}", (f"p{i}-s",), target=10.0 + 3 * i) for i in range(8)), frozenset({"target"})
    ),
}


@pytest.mark.parametrize("kind", COHORTS)
def test_every_task_learns_its_own_training_set_and_comes_back_from_json(kind: str) -> None:
    cohort = COHORTS[kind]
    cases = list(cohort.cases)
    task = make_task(TaskConfig(kind=kind), cohort, cases)
    torch.manual_seed(0)
    logits = (0.1 * torch.randn(len(cases), task.out_dim)).requires_grad_()
    optimizer = torch.optim.Adam([logits], lr=0.1)
    first = float(task.loss(logits.detach(), cases))
    for _ in range(200):
        optimizer.zero_grad()
        task.loss(logits, cases).backward()
        optimizer.step()
    assert float(task.loss(logits.detach(), cases)) < 0.6 * first
    task.calibrate(logits, cases)
    again = task_from_state(json.loads(json.dumps(task.state())))
    for name, column in task.predict(logits).items():
        np.testing.assert_array_equal(column, again.predict(logits)[name])
        assert column.shape == (len(cases),)
        assert column.dtype == np.float64


@pytest.mark.parametrize("kind", ["classification", "ordinal"])
def test_probabilities_add_up_and_the_fitted_class_wins(kind: str) -> None:
    cohort = COHORTS[kind]
    task = make_task(TaskConfig(kind=kind), cohort, cohort.cases)
    columns = task.predict(torch.randn(50, task.out_dim) * 5)
    assert list(columns) == ["prob_a", "prob_b", "prob_c"]
    stacked = np.stack(list(columns.values()), axis=1)
    np.testing.assert_allclose(stacked.sum(axis=1), 1.0, atol=1e-12)
    assert stacked.min() >= 0


def test_class_weights_count_even_at_one_case_per_step() -> None:
    cohort = COHORTS["classification"]
    plain = make_task(TaskConfig(), cohort, cohort.cases)
    weighted = make_task(TaskConfig(class_weights="balanced"), cohort, cohort.cases)
    rare = [case for case in cohort.cases if case.label == 2][:1]
    logits = torch.zeros(1, 3)
    assert float(weighted.loss(logits, rare)) == pytest.approx(10 / (3 * 1) * float(plain.loss(logits, rare)))


def test_class_weights_must_fit_the_classes() -> None:
    with pytest.raises(ConfigError, match="has 2 numbers; 3 positive ones"):
        make_task(TaskConfig(class_weights=[1.0, 2.0]), COHORTS["classification"], COHORTS["classification"].cases)


def test_the_survival_likelihood_is_the_one_written_down() -> None:
    task = DiscreteSurvival([10.0, 20.0], last_time=40.0)
    cases = [Case("e", ("e",), time=10.0, event=True), Case("c", ("c",), time=25.0, event=False)]
    logits = torch.tensor([[0.3, -0.2, 0.5], [-1.0, 0.4, 0.1]], dtype=torch.float64)
    h = torch.sigmoid(logits)
    event = (1 - h[0, 0]) * h[0, 1]  # time 10 lies in the second interval
    censored = (1 - h[1, 0]) * (1 - h[1, 1]) * (1 - h[1, 2])
    expected = -(torch.log(event) + torch.log(censored)) / 2
    assert float(task.loss(logits, cases)) == pytest.approx(float(expected), rel=1e-6)


def test_extreme_logits_keep_the_likelihood_finite() -> None:
    task = DiscreteSurvival([10.0], last_time=40.0)
    cases = [Case("e", ("e",), time=1.0, event=True), Case("c", ("c",), time=25.0, event=False)]
    logits = torch.tensor([[-200.0, 200.0], [200.0, 200.0]], requires_grad=True)
    loss = task.loss(logits, cases)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    ("times", "edges"),
    [([1, 2, 3, 4, 5], [2.0, 3.0, 4.0]), ([5, 5, 5, 5], [5.0]), ([0, 0, 0, 0], []), ([0, 0, 0, 9], [2.25])],
)
def test_bins_survive_tied_and_zero_times(times: list[float], edges: list[float]) -> None:
    cases = [Case(f"p{i}", (f"s{i}",), time=float(time), event=True) for i, time in enumerate(times)]
    assert quantile_edges(cases, 4) == edges
    cohort = Cohort(tuple(cases), frozenset({"survival"}))
    task = make_task(TaskConfig(kind="survival"), cohort, cases)
    assert torch.isfinite(task.loss(torch.zeros(len(cases), task.out_dim), cases))
    assert task.predict(torch.zeros(2, task.out_dim))["risk"].shape == (2,)


def test_bins_come_from_training_patients_only() -> None:
    cohort = survival_cohort(40)
    half = [case for case in cohort.cases if (case.time or 0) < 50]
    task = make_task(TaskConfig(kind="survival"), cohort, half)
    assert isinstance(task, DiscreteSurvival)
    assert max(task.edges) < 50


def test_survival_curves_fall_and_higher_risk_means_sooner() -> None:
    cohort = survival_cohort(30)
    task = make_task(TaskConfig(kind="survival"), cohort, cohort.cases)
    columns = task.predict(torch.tensor([[-2.0] * 4, [1.0] * 4]))
    names = sorted((name for name in columns if name != "risk"), key=lambda name: float(name.split("_")[1]))
    assert len(names) == 3
    curves = np.stack([columns[name] for name in names], axis=1)
    assert (np.diff(curves, axis=1) <= 0).all()
    assert columns["risk"][1] > columns["risk"][0]
    assert (curves[1] < curves[0]).all()


def test_the_cox_loss_is_the_partial_likelihood_of_lifelines() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(60)
    times = rng.exponential(np.exp(-0.8 * x)) + 0.01
    events = rng.random(60) < 0.7
    import pandas as pd

    frame = pd.DataFrame({"x": x, "time": times, "event": events})
    fitted = CoxPHFitter().fit(frame, "time", "event")
    cases = [
        Case(f"p{i:02d}", (f"s{i}",), time=float(t), event=bool(e))
        for i, (t, e) in enumerate(zip(times, events, strict=True))
    ]
    cohort = Cohort(tuple(cases), frozenset({"survival"}))
    task = make_task(TaskConfig(kind="cox"), cohort, cases)
    logits = torch.tensor(x * fitted.params_["x"])[:, None]
    assert float(task.loss(logits, cases)) * events.sum() == pytest.approx(-fitted.log_likelihood_, rel=1e-5)
    task.calibrate(logits, cases)
    predicted = task.predict(logits)
    name = next(name for name in predicted if name.startswith("survival_"))
    at = float(name.removeprefix("survival_"))
    expected = fitted.predict_survival_function(frame, times=[at]).to_numpy()[0]
    np.testing.assert_allclose(predicted[name], expected, atol=0.03)


def test_a_cox_step_without_events_changes_nothing() -> None:
    cases = [Case("a", ("a",), time=1.0, event=False), Case("b", ("b",), time=2.0, event=False)]
    task = make_task(TaskConfig(kind="cox"), survival_cohort(10), survival_cohort(10).cases)
    logits = torch.randn(2, 1, requires_grad=True)
    task.loss(logits, cases).backward()
    assert logits.grad is not None and not logits.grad.any()


def test_an_unknown_or_incomplete_state_is_refused() -> None:
    with pytest.raises(CheckpointError, match="task is 'guess'"):
        task_from_state({"kind": "guess"})
    with pytest.raises(CheckpointError, match="incomplete"):
        task_from_state({"kind": "survival"})
