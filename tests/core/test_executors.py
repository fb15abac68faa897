import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wsi2dmamba.core.errors import ConfigError, InputError
from wsi2dmamba.core.executors import DaskExecutor, LocalExecutor, WorkerLostError, make_executor, read_dask_settings


def square(value: int) -> int:
    if value == 3:
        raise ValueError("three")
    return value * value


def slowly(path: str) -> int:
    with Path(path).open("a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(0.4)
    return os.getpid()


def deadly(value: int) -> int:
    if value == 1:
        os._exit(1)
    return value


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as made:
        yield made


def test_local_processes_and_a_cluster_give_the_same_outcomes(cluster: Any) -> None:
    results = []
    for executor in (LocalExecutor(1), DaskExecutor(cluster.scheduler_address)):
        with executor as place:
            outcomes = sorted(place.run(square, list(range(6))), key=lambda outcome: outcome.task)
        results.append([(outcome.task, outcome.value, str(outcome.error or "")) for outcome in outcomes])
    assert results[0] == results[1]
    assert results[0][3] == (3, None, "three") and results[0][5] == (5, 25, "")


def test_a_worker_killed_in_the_middle_costs_nothing_but_time(cluster: Any, tmp_path: Path) -> None:
    tasks = [str(tmp_path / f"{index}") for index in range(10)]
    with make_executor(cluster.scheduler_address, 1) as executor:
        outcomes = executor.run(slowly, tasks)
        seen = [next(outcomes)]
        victim = next(
            int(file.read_text().split()[-1])
            for file in sorted(tmp_path.iterdir(), key=lambda path: -path.stat().st_mtime)
        )
        os.kill(victim, signal.SIGKILL)
        seen += list(outcomes)
    assert {outcome.task for outcome in seen} == set(tasks) and len(seen) == len(tasks)
    assert all(outcome.error is None and outcome.value for outcome in seen)


def test_a_task_that_kills_every_worker_fails_alone(cluster: Any) -> None:
    with make_executor(cluster.scheduler_address, 1) as executor:
        outcomes = {outcome.task: outcome for outcome in executor.run(deadly, [0, 1, 2])}
    assert isinstance(outcomes[1].error, WorkerLostError)
    assert (outcomes[0].value, outcomes[2].value) == (0, 2)


def test_no_scheduler_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("wsi2dmamba.core.executors._JOIN_TIMEOUT_S", 1)
    with pytest.raises(InputError, match="no Dask scheduler"):
        DaskExecutor("tcp://127.0.0.1:1")


def test_a_cluster_is_described_in_yaml(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("cluster: slurm\njobs: 8\ngpus: 1\noptions: {queue: gpu, cores: 8, memory: 64GB}\n")
    settings = read_dask_settings(file)
    assert (settings.cluster, settings.jobs, settings.options["queue"]) == ("slurm", 8, "gpu")
    file.write_text("cluster: slurm\njob: 8\n")
    with pytest.raises(ConfigError, match=r"'job'.*did you mean 'jobs'"):
        read_dask_settings(file)
    file.write_text("cluster: [\n")
    with pytest.raises(ConfigError, match="not YAML"):
        read_dask_settings(file)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_dask_settings(tmp_path / "absent.yaml")


def test_slurm_jobs_offer_their_gpus_and_carry_the_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobqueue = pytest.importorskip("dask_jobqueue")
    from wsi2dmamba.core import executors

    made: dict[str, Any] = {}

    class Recorded:
        def __init__(self, **options: Any) -> None:
            made.update(options)

        def scale(self, jobs: int) -> None:
            made["jobs"] = jobs

    monkeypatch.setattr(jobqueue, "SLURMCluster", Recorded)
    file = tmp_path / "cluster.yaml"
    file.write_text("cluster: slurm\njobs: 3\ngpus: 2\noptions: {queue: gpu}\n")
    executors._start_cluster(read_dask_settings(file))
    assert made == {"queue": "gpu", "worker_extra_args": ["--resources", "GPU=2"], "jobs": 3}
