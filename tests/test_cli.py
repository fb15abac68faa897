"""The command line itself: instant help, no heavy imports, a clean end on Ctrl-C."""

from __future__ import annotations

import subprocess
import sys

import pytest

from wsi2dmamba.cli import main

HEAVY = ("torch", "lightning", "pandas", "matplotlib", "cv2", "openslide", "sklearn", "numba", "h5py", "numpy")


def test_help_imports_nothing_heavy() -> None:
    # What takes the time is imports: a test of seconds would fail on a busy machine and pass on a fast one.
    code = (
        "import sys; from wsi2dmamba.cli import app, main; sys.argv = ['wsi2dmamba', '--help']\n"
        "try: main()\n"
        f"finally: print('heavy:', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "heavy: []" in ended.stdout
    for command in ("tile", "extract", "train", "eval", "demo"):
        assert command in ended.stdout


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wsi2dmamba.demo.pipeline.run_demo", interrupt)
    monkeypatch.setattr("sys.argv", ["wsi2dmamba", "demo"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err.startswith("wsi2dmamba: interrupted; run the same command again")


def test_an_unknown_command_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["wsi2dmamba", "tyle"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "tyle" in capsys.readouterr().err
