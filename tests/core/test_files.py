from pathlib import Path

import pytest

from wsi2dmamba.core.errors import InputError
from wsi2dmamba.core.files import PARTIAL_MARK, atomic_path, make_folder, remove_partials, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    final = tmp_path / "out.txt"
    final.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(final) as partial:
        partial.write_text("half")
        raise RuntimeError("power cut")
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    assert final.read_text() == "old"


def test_a_finished_write_replaces_the_old_file(tmp_path: Path) -> None:
    final = tmp_path / "sub" / "out.json"
    write_json(final, {"a": 1})
    write_json(final, {"a": 2})
    assert '"a": 2' in final.read_text()
    assert len(list(final.parent.iterdir())) == 1


def test_nan_is_not_written_as_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "out.json", {"a": float("nan")})
    assert not any(tmp_path.iterdir())


def test_partials_of_killed_processes_are_removed(tmp_path: Path) -> None:
    (tmp_path / f".slide{PARTIAL_MARK}0123.h5").write_text("half")
    (tmp_path / "slide.h5").write_text("whole")
    remove_partials(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["slide.h5"]


def test_a_folder_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="cannot make the folder"):
        make_folder(tmp_path / "taken" / "sub")
