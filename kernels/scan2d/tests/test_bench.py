"""The benchmark runs and writes its figures."""

import json
import sys
from pathlib import Path

import pytest

from scan2d.bench import __main__ as bench


def test_table_and_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "scan.json"
    arguments = ["--backend", "reference", "--sizes", "5", "--dim", "3", "--states", "2", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", ["scan2d.bench", *arguments, "--json", str(target)])
    bench.main()
    rows = json.loads(target.read_text())["rows"]
    assert [row["dtype"] for row in rows] == ["float32", "bfloat16"]
    assert all(row["forward_s"] > 0 and row["training_s"] > row["forward_s"] / 2 for row in rows)
    assert "5×5" in capsys.readouterr().out


def test_a_backend_that_cannot_run_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["scan2d.bench", "--backend", "nonsense"])
    with pytest.raises(SystemExit, match="error: backend 'nonsense': no such backend"):
        bench.main()
