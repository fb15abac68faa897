import os
import signal
import subprocess
import sys
import time
from pathlib import Path

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


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "sleepers.py").write_text(
        "import os, time\n"
        "from pathlib import Path\n"
        "from wsi2dmamba.core.workers import run_tasks\n"
        "def sleep(folder):\n"
        "    (Path(folder) / f'pid-{os.getpid()}').touch()\n"
        "    time.sleep(60)\n"
        "if __name__ == '__main__':\n"
        f"    list(run_tasks(sleep, [{str(tmp_path)!r}] * 2, 2))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    parent = subprocess.Popen([sys.executable, str(tmp_path / "sleepers.py")], env=environment)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("pid-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    children = [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]
    assert len(children) == 2
    while any(_runs(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(_runs(child) for child in children)


def _runs(pid: int) -> bool:
    try:
        # A zombie that nobody has waited for has ended.
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
