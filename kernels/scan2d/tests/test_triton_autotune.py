"""Launch choices by measurement: the fastest by an injected timer, kept in a file; off unless asked for."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("triton")

from scan2d.tests.test_triton_workspace import problem
from scan2d.triton_backend import autotune, table
from scan2d.triton_backend.autotune import Tuner
from scan2d.triton_backend.table import Launch

CHAINED, SEPARATE = Launch(True, False, 4), Launch(False, False, 4)


class Stopwatch:
    """Says that a run took as long as it is told the launch takes."""

    def __init__(self, seconds: dict[Launch, float]) -> None:
        self.seconds = seconds
        self.runs: list[Launch] = []

    def run(self, launch: Launch) -> None:
        self.runs.append(launch)

    def time(self, call: Callable[[], None]) -> float:
        call()
        return self.seconds[self.runs[-1]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "launches.json"


@pytest.fixture(autouse=True)
def default_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SCAN2D_TRITON_AUTOTUNE", "SCAN2D_TRITON_CHAIN"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("fastest", [CHAINED, SEPARATE])
def test_the_fastest_is_chosen_once_and_kept(path: Path, fastest: Launch) -> None:
    watch = Stopwatch({CHAINED: 2e-3, SEPARATE: 2e-3, fastest: 1e-3})
    tuner = Tuner(path, watch.time)
    assert tuner.choose("kind", [CHAINED, SEPARATE], watch.run) == fastest
    assert tuner.choose("kind", [CHAINED, SEPARATE], watch.run) == fastest
    assert watch.runs == [CHAINED, SEPARATE]
    assert Tuner(path, watch.time).choose("kind", [CHAINED, SEPARATE], watch.run) == fastest
    assert len(watch.runs) == 2
    rows = json.loads(path.read_text())["kind"]
    assert [row["microseconds"] for row in rows] == [1000, 2000]


def test_what_another_process_wrote_is_kept(path: Path) -> None:
    watch = Stopwatch({CHAINED: 1.0, SEPARATE: 2.0})
    first, second = Tuner(path, watch.time), Tuner(path, watch.time)
    first.choose("mine", [CHAINED], watch.run)
    second.choose("theirs", [SEPARATE], watch.run)
    assert set(json.loads(path.read_text())) == {"mine", "theirs"}
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("content", ["{", "[]", '{"kind": []}', '{"kind": [3]}', '{"kind": [{"chained": true}]}'])
def test_a_damaged_file_is_measured_again(path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    path.write_text(content)
    watch = Stopwatch({CHAINED: 1.0})
    with caplog.at_level(logging.WARNING, logger="scan2d"):
        assert Tuner(path, watch.time).choose("kind", [CHAINED], watch.run) == CHAINED
    assert watch.runs == [CHAINED]
    assert list(json.loads(path.read_text())) == ["kind"]


def test_a_folder_that_cannot_be_made_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    watch = Stopwatch({CHAINED: 1.0})
    tuner = Tuner(tmp_path / "file" / "launches.json", watch.time)
    assert tuner.choose("kind", [CHAINED], watch.run) == CHAINED
    assert "cannot be kept" in caplog.text


def test_the_table_decides_unless_tuning_is_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    p = problem(1, 200)
    watch = Stopwatch(dict.fromkeys(autotune.candidates("forward", p.strips, False), 1.0) | {SEPARATE: 0.5})
    monkeypatch.setattr(autotune, "seconds_on_device", watch.time)
    by_table = autotune.choose(p, "forward", watch.run)
    assert by_table == table.default_launch(32, 25, 200, False, table.Device(2, 32))
    assert by_table.chained
    assert not watch.runs

    autotune._tuner.cache_clear()
    autotune.enable(path)
    assert autotune.choose(p, "forward", watch.run) == SEPARATE
    monkeypatch.setenv("SCAN2D_TRITON_CHAIN", "1")
    assert autotune.choose(p, "forward", watch.run).chained
    autotune.disable()
    assert len(watch.runs) == 3


def test_kinds_differ_by_what_matters_and_not_by_a_few_rows() -> None:
    kinds = {autotune.kind_of(problem(1, side), "forward") for side in (130, 200, 256)}
    assert len(kinds) == 1
    others = {autotune.kind_of(problem(*size), "forward") for size in ((1, 257), (8, 200), (1, 200, 128), (1, 9))}
    assert len(kinds | others | {autotune.kind_of(problem(1, 200), "backward")}) == 6


def test_edges_of_few_strips_are_not_carried_and_a_mask_is_not_chained() -> None:
    for direction in ("forward", "backward"):
        assert {launch.carried for launch in autotune.candidates(direction, 2, False)} == {False}
        assert {launch.chained for launch in autotune.candidates(direction, 9, True)} == {False}
