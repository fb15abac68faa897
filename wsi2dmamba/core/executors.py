"""Where tasks run: processes of this machine, or the workers of a Dask cluster. Same tasks in, same outcomes out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, TypeVar

import yaml
from pydantic import Field, ValidationError

from wsi2dmamba.core.errors import ConfigError, DependencyError, InputError, WSI2DMambaError
from wsi2dmamba.core.validation import Settings, one_line
from wsi2dmamba.core.workers import TaskOutcome, run_here, run_tasks

log = logging.getLogger(__name__)

Task = TypeVar("Task")
Value = TypeVar("Value")

_JOIN_TIMEOUT_S = 60

_CLUSTERS = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster", "sge": "SGECluster"}


class WorkerLostError(WSI2DMambaError):
    """A task whose workers died again and again."""


class Executor(Protocol):
    """Runs tasks somewhere.

    Attributes
    ----------
    offers_gpu
        Whether each task is given a GPU of its own.
    """

    offers_gpu: bool

    def run(self, function: Callable[[Task], Value], tasks: Sequence[Task]) -> Iterator[TaskOutcome[Task, Value]]:
        """Yield the outcome of `function` on every task, in the order of completion."""
        ...

    def __enter__(self) -> Executor: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class DaskSettings(Settings):
    """A `--dask FILE.yaml`: a cluster that dask-jobqueue starts.

    Attributes
    ----------
    cluster
        ``slurm``, ``pbs``, ``lsf``, ``sge``, or ``local`` for processes of this machine.
    jobs
        How many jobs (workers) to ask for.
    gpus
        GPUs per job; each is offered to one task at a time.
    options
        Passed on to the cluster's class, e.g. ``queue``, ``cores``, ``memory``, ``walltime``, ``job_extra_directives``.
    """

    cluster: Literal["slurm", "pbs", "lsf", "sge", "local"]
    jobs: int = Field(1, ge=1)
    gpus: int = Field(0, ge=0)
    options: dict[str, Any] = Field(default_factory=dict)


class LocalExecutor(AbstractContextManager["LocalExecutor"]):
    """Processes of this machine.

    Parameters
    ----------
    workers
        How many; with 1 everything runs in this process.
    """

    offers_gpu = False

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def run(self, function: Callable[[Task], Value], tasks: Sequence[Task]) -> Iterator[TaskOutcome[Task, Value]]:
        """See `Executor.run`."""
        return run_tasks(function, tasks, self._workers)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is kept open."""


class DaskExecutor(AbstractContextManager["DaskExecutor"]):
    """The workers of a Dask cluster, one task each.

    A task whose worker is lost goes to another one; after four lost workers it gets a last try when all others are
    done, and fails alone. Workers need this package installed and see the same files.

    Parameters
    ----------
    where
        Address of a scheduler (``tcp://host:8786``), its scheduler file (``.json``), or a ``.yaml`` of `DaskSettings`.
    gpu
        Whether a task needs a GPU. Workers that offer one (``dask worker --resources GPU=1``) then take as many
        tasks at a time as they offer; where no worker does, tasks go to any.
    """

    def __init__(self, where: str, gpu: bool = False) -> None:
        self._client, self._cluster, settings = _connect(where)
        self.offers_gpu = gpu and _offers_gpu(self._client, settings)
        self._resources = {"GPU": 1} if self.offers_gpu else None

    def run(self, function: Callable[[Task], Value], tasks: Sequence[Task]) -> Iterator[TaskOutcome[Task, Value]]:
        """See `Executor.run`."""
        lost = []
        for outcome in self._run_together(function, tasks):
            if isinstance(outcome.error, WorkerLostError):
                lost.append(outcome.task)
            else:
                yield outcome
        # A task can be blamed for the death of a worker that another one killed: each has one more try, alone.
        for task in lost:
            yield from self._run_together(function, [task])

    def _run_together(
        self, function: Callable[[Task], Value], tasks: Sequence[Task]
    ) -> Iterator[TaskOutcome[Task, Value]]:
        from distributed import as_completed

        futures = {
            self._client.submit(run_here, function, task, pure=False, resources=self._resources): task for task in tasks
        }
        try:
            for future in as_completed(list(futures)):
                task = futures.pop(future)
                yield _outcome(future, task)
                future.release()
        finally:
            if futures:
                self._client.cancel(list(futures), force=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the scheduler; a cluster that was started here ends."""
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()


def make_executor(dask: str | None, workers: int, gpu: bool = False) -> Executor:
    """Return a Dask executor when `dask` is given, else one over `workers` local processes.

    Raises
    ------
    DependencyError, ConfigError, InputError
        If Dask is not installed, the settings are wrong, or no worker answers.
    """
    return DaskExecutor(dask, gpu) if dask else LocalExecutor(workers)


def read_dask_settings(path: Path) -> DaskSettings:
    """Read a `--dask` YAML file.

    Raises
    ------
    ConfigError
        If it is missing, malformed or has an unknown key.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold keys such as `cluster: slurm`")
    try:
        return DaskSettings(**content)
    except ValidationError as error:
        known: dict[str, Any] = {name: {} for name in DaskSettings.model_fields}
        raise ConfigError(f"{path}: {one_line(error, known)}") from error


def _connect(where: str) -> tuple[Any, Any, DaskSettings | None]:
    try:
        from distributed import Client
    except ImportError as error:
        raise DependencyError("--dask needs dask; run: pip install 'wsi2dmamba[distributed]'") from error
    if where.endswith((".yaml", ".yml")):
        settings = read_dask_settings(Path(where))
        cluster = _start_cluster(settings)
        return Client(cluster), cluster, settings
    try:
        if where.endswith(".json"):
            client = Client(scheduler_file=where, timeout=_JOIN_TIMEOUT_S)
        else:
            client = Client(where, timeout=_JOIN_TIMEOUT_S)
        client.wait_for_workers(1, timeout=_JOIN_TIMEOUT_S)
    except (OSError, ValueError, TimeoutError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"no Dask scheduler with workers at {where!r} ({reason}); start one, or give a .yaml"
        ) from error
    return client, None, None


def _start_cluster(settings: DaskSettings) -> Any:
    if settings.cluster == "local":
        from distributed import LocalCluster

        resources = {"GPU": settings.gpus} if settings.gpus else None
        options = {"threads_per_worker": 1, "dashboard_address": None, **settings.options}
        return LocalCluster(n_workers=settings.jobs, resources=resources, **options)
    try:
        import dask_jobqueue
    except ImportError as error:
        raise DependencyError(
            f"cluster: {settings.cluster} needs dask-jobqueue; run: pip install 'wsi2dmamba[distributed]'"
        ) from error
    options = dict(settings.options)
    if settings.gpus:
        extra = list(options.get("worker_extra_args", []))
        options["worker_extra_args"] = [*extra, "--resources", f"GPU={settings.gpus}"]
    try:
        cluster = getattr(dask_jobqueue, _CLUSTERS[settings.cluster])(**options)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"the options of the {settings.cluster} cluster are wrong: {error}") from error
    cluster.scale(jobs=settings.jobs)
    return cluster


def _offers_gpu(client: Any, settings: DaskSettings | None) -> bool:
    if settings is not None:
        return settings.gpus > 0
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    offered = any(worker.get("resources", {}).get("GPU", 0) for worker in workers)
    if not offered:
        log.warning("no Dask worker offers a GPU (start them with --resources GPU=1); tasks go to any worker")
    return offered


def _outcome(future: Any, task: Task) -> TaskOutcome[Task, Any]:
    if future.status == "finished":
        return future.result()
    error = future.exception() if future.status == "error" else None
    if type(error).__name__ == "KilledWorker":
        lost = WorkerLostError("every worker that ran it died (too little memory, or a slide that crashes its decoder)")
        return TaskOutcome(task, None, lost, 0.0)
    return TaskOutcome(task, None, error or WorkerLostError("the task was lost by the scheduler"), 0.0)
