"""The command line itself: a clean end on Ctrl-C and on a wrong command."""

from __future__ import annotations

import pytest

from wsi2dmamba.cli import main


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
