import os
import subprocess
import sys
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


def test_partials_of_killed_processes_are_removed_and_those_of_live_ones_are_not(tmp_path: Path) -> None:
    code = (
        "import sys, os, signal; from pathlib import Path; from wsi2dmamba.core.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as partial:\n"
        "    partial.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code, tmp_path / "dead.h5"], env=environment, check=False)
    far = tmp_path / f".far{PARTIAL_MARK}00000000-1-00000000.h5"
    far.write_text("half")
    (tmp_path / "slide.h5").write_text("whole")
    assert len(list(tmp_path.iterdir())) == 3
    with atomic_path(tmp_path / "live.h5") as partial:
        partial.write_text("half")
        remove_partials(tmp_path)
        assert partial.exists()
    assert {path.name for path in tmp_path.iterdir()} == {"slide.h5", "live.h5", far.name}
    os.utime(far, (0, 0))
    remove_partials(tmp_path)
    assert not far.exists()


def test_long_names_of_many_byte_letters_can_be_written(tmp_path: Path) -> None:
    final = tmp_path / ("切" * 80 + ".json")
    write_json(final, {"a": 1})
    assert final.exists()


def test_a_folder_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="cannot make the folder"):
        make_folder(tmp_path / "taken" / "sub")
