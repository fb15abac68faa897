import os
import signal

import pytest

from wsi2dmamba.core.workers import run_tasks


def _square(value: int) -> int:
    if value == 3:
        raise ValueError("three is refused")
    return value * value


def _die_on_two(value: int) -> int:
    if value == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return value * value


@pytest.mark.parametrize("workers", [1, 2])
def test_one_bad_task_does_not_stop_the_others(workers: int) -> None:
    outcomes = {outcome.task: outcome for outcome in run_tasks(_square, range(6), workers)}
    assert sorted(outcomes) == list(range(6))
    assert isinstance(outcomes[3].error, ValueError)
    assert [outcomes[i].value for i in (0, 1, 2, 4, 5)] == [0, 1, 4, 16, 25]


def test_a_killed_worker_costs_only_its_own_task() -> None:
    outcomes = {outcome.task: outcome for outcome in run_tasks(_die_on_two, range(5), workers=2)}
    assert sorted(outcomes) == list(range(5))
    assert outcomes[2].error is not None
    assert [outcomes[i].value for i in (0, 1, 3, 4)] == [0, 1, 9, 16]
