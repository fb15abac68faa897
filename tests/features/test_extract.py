import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from tests.fabricate import corrupt_jpeg_tile, svs
from tests.features.tiled import tiled_slides, tiles_of
from wsi2dmamba.cli import app
from wsi2dmamba.core.errors import InputError
from wsi2dmamba.features.chunks import CHUNK_PATCHES, reading_order
from wsi2dmamba.features.config import ExtractConfig
from wsi2dmamba.features.encoders import load_encoder
from wsi2dmamba.features.extract import extract_slides
from wsi2dmamba.features.store import read_features
from wsi2dmamba.slides.locks import held
from wsi2dmamba.slides.patches import read_patches
from wsi2dmamba.slides.reader import open_slide
from wsi2dmamba.slides.tilefile import read_tile_file, write_tile_file


def config(tiles: Path, out: Path, **changes: object) -> ExtractConfig:
    return ExtractConfig(tiles=tiles, out=out, **{"workers": 0, "devices": ("cpu",), **changes})


def by_slide(out: Path, encoder: str = "texture") -> pd.DataFrame:
    return pd.read_csv(out / encoder / "features.csv", keep_default_na=False).set_index("slide_id")


def test_features_are_the_encoder_of_the_patches_in_the_order_of_the_tile_file(tmp_path: Path) -> None:
    tiles = tiled_slides(tmp_path, ["a", "b (copy).v2"])
    report = extract_slides(config(tiles, tmp_path / "out"))
    assert [row.status for row in report.rows] == ["done", "done"]
    for name in ("a", "b (copy).v2"):
        file = read_features(tmp_path / "out" / "texture" / f"{name}.h5")
        have = read_tile_file(tiles / "tiles" / f"{name}.h5")
        np.testing.assert_array_equal(file.tiles.coords, have.coords)
        np.testing.assert_array_equal(file.tiles.grid, have.grid)
        assert file.tiles.geometry == have.geometry and file.tiles.stamp == have.stamp
        assert (file.encoder, file.features.dtype) == ("texture", np.float32)
    openslide = pytest.importorskip("openslide")
    slide = openslide.OpenSlide(tmp_path / "slides" / "a.svs")
    pixels = [np.asarray(slide.read_region((x, y), 0, (64, 64)).convert("RGB")) for x, y in have.coords[:5].tolist()]
    features = read_features(tmp_path / "out" / "texture" / "a.h5").features[:5]
    expected = load_encoder("texture").encode(torch.from_numpy(np.stack(pixels)))
    np.testing.assert_allclose(features, expected.numpy(), atol=0.05)


def test_features_stand_in_the_order_of_the_tile_file_though_patches_are_read_in_blocks(tmp_path: Path) -> None:
    tiles = tiled_slides(tmp_path, ["a"], size=(2560, 1280))
    have = read_tile_file(tiles / "tiles" / "a.h5")
    order = reading_order(have.grid)
    assert (np.sort(order) == np.arange(len(have))).all() and (order != np.arange(len(have))).any()
    first = have.grid[order[:CHUNK_PATCHES]]
    assert (first.max(axis=0) - first.min(axis=0) == 15).all()
    extract_slides(config(tiles, tmp_path / "out"))
    file = read_features(tmp_path / "out" / "texture" / "a.h5")
    with open_slide(tmp_path / "slides" / "a.svs") as reader:
        patches, _ = read_patches(reader, have.geometry, have.coords)
    expected = load_encoder("texture").encode(torch.from_numpy(patches)).numpy()
    np.testing.assert_array_equal(file.tiles.coords, have.coords)
    np.testing.assert_allclose(file.features, expected, rtol=1e-5, atol=1e-5)


def test_reading_processes_give_the_same_bytes_as_one_process(tmp_path: Path) -> None:
    tiles = tiled_slides(tmp_path, ["a", "b", "c"])
    extract_slides(config(tiles, tmp_path / "one"))
    extract_slides(config(tiles, tmp_path / "many", workers=2))
    for path in (tmp_path / "one" / "texture").glob("*.h5"):
        assert path.read_bytes() == (tmp_path / "many" / "texture" / path.name).read_bytes()


def test_pixels_through_shared_memory_give_the_same_bytes(tmp_path: Path) -> None:
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3))

    torch.jit.script(Net()).save(tmp_path / "net.pt")
    tiles = tiled_slides(tmp_path, ["a", "b"])
    spec = f"torchscript:{tmp_path / 'net.pt'}"
    extract_slides(config(tiles, tmp_path / "one", encoder=spec))
    extract_slides(config(tiles, tmp_path / "many", encoder=spec, workers=2, batch_size=7))
    one, many = (read_features(tmp_path / name / "net" / "b.h5").features for name in ("one", "many"))
    np.testing.assert_array_equal(one, many)


def test_a_rerun_does_only_what_is_missing(tmp_path: Path) -> None:
    tiles = tiled_slides(tmp_path, ["a", "b"])
    extract_slides(config(tiles, tmp_path / "out"))
    first = {path.name: path.read_bytes() for path in (tmp_path / "out" / "texture").glob("*.h5")}
    kept = (tmp_path / "out" / "texture" / "a.h5").stat().st_mtime_ns
    damaged = tmp_path / "out" / "texture" / "b.h5"
    damaged.write_bytes(damaged.read_bytes()[:3000])
    report = extract_slides(config(tiles, tmp_path / "out"))
    assert {row.slide_id: row.status for row in report.rows} == {"a": "skipped", "b": "done"}
    assert (tmp_path / "out" / "texture" / "a.h5").stat().st_mtime_ns == kept
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "texture").glob("*.h5")} == first


def test_changed_settings_are_refused_unless_told_to_overwrite(tmp_path: Path) -> None:
    tiles = tiled_slides(tmp_path, ["a"])
    extract_slides(config(tiles, tmp_path / "out"))
    with pytest.raises(InputError, match=r"float32.*--overwrite"):
        extract_slides(config(tiles, tmp_path / "out", precision="bfloat16"))
    path = tiles / "tiles" / "a.h5"
    write_tile_file(path, tiles_of(tmp_path / "slides" / "a.svs", patch_px=32))
    with pytest.raises(InputError, match="other tile settings"):
        extract_slides(config(tiles, tmp_path / "out"))
    report = extract_slides(config(tiles, tmp_path / "out", overwrite=True))
    assert report.rows[0].status == "done"
    assert len(read_features(tmp_path / "out" / "texture" / "a.h5")) == len(read_tile_file(path))


def test_one_bad_slide_never_stops_the_others(tmp_path: Path) -> None:
    tiles = tiled_slides(tmp_path, ["a", "gone", "replaced", "junk", "z"])
    (tmp_path / "slides" / "gone.svs").unlink()
    with (tmp_path / "slides" / "replaced.svs").open("ab") as file:
        file.write(b"more")
    junk = tmp_path / "slides" / "junk.svs"
    stamp = junk.stat()
    junk.write_bytes(b"x" * stamp.st_size)
    os.utime(junk, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    (tiles / "tiles" / "cut.h5").write_bytes((tiles / "tiles" / "a.h5").read_bytes()[:2000])
    result = CliRunner().invoke(
        app, ["extract", "--tiles", str(tiles), "--out", str(tmp_path / "out"), "--workers", "0", "--device", "cpu"]
    )
    assert result.exit_code == 1
    table = by_slide(tmp_path / "out")
    expected = {"a": "done", "z": "done", "gone": "failed", "replaced": "failed", "junk": "failed", "cut": "failed"}
    assert table.status.to_dict() == expected
    assert "replaced since it was tiled" in table.message["replaced"]
    assert "--slides" in table.message["gone"]
    assert not table.message.str.contains("\n").any()


def test_a_slide_that_another_run_works_on_is_left_to_it(tmp_path: Path) -> None:
    tiles = tiled_slides(tmp_path, ["a", "b"])
    with held(tmp_path / "out" / "texture" / "locks" / "a.lock") as mine:
        assert mine
        report = extract_slides(config(tiles, tmp_path / "out"))
    assert {row.slide_id: row.status for row in report.rows} == {"a": "locked", "b": "done"}
    assert not report.failed and str(os.getpid()) in report.rows[0].message
    again = extract_slides(config(tiles, tmp_path / "out"))
    assert [row.status for row in again.rows] == ["done", "skipped"]
    assert not list((tmp_path / "out" / "texture" / "locks").iterdir())


def test_a_slide_tiled_anew_is_encoded_anew(tmp_path: Path) -> None:
    tiles = tiled_slides(tmp_path, ["a", "b"])
    extract_slides(config(tiles, tmp_path / "out"))
    slide = svs(tmp_path / "slides" / "a.svs", size=(512, 384), seed=9)
    write_tile_file(tiles / "tiles" / "a.h5", tiles_of(slide))
    report = extract_slides(config(tiles, tmp_path / "out"))
    assert {row.slide_id: row.status for row in report.rows} == {"a": "done", "b": "skipped"}


def test_the_manifest_names_versions_and_parameters(tmp_path: Path) -> None:
    tiles = tiled_slides(tmp_path, ["a"])
    extract_slides(config(tiles, tmp_path / "out"))
    manifest = json.loads((tmp_path / "out" / "texture" / "manifest.json").read_text())
    assert manifest["packages"]["torch"] == torch.__version__
    assert manifest["parameters"]["encoder"] == "texture" and manifest["parameters"]["precision"] == "float32"
    assert manifest["result"] == {"encoder": "texture", "encoder_revision": "texture-2", "slides": {"done": 1}}


def test_patches_outside_the_slide_fail_it(tmp_path: Path) -> None:
    tiles = tiled_slides(tmp_path, ["a", "b"])
    path = tiles / "tiles" / "a.h5"
    far = read_tile_file(path)
    lattice = replace(far.geometry.lattice, origin=(100_000, 0))
    geometry = replace(far.geometry, lattice=lattice, level0_size=(200_000, 400))
    write_tile_file(path, replace(far, coords=lattice.corners(far.grid), geometry=geometry))
    report = extract_slides(config(tiles, tmp_path / "out"))
    assert [row.status for row in report.rows] == ["failed", "done"]
    assert "outside" in report.rows[0].message and "(100000, 0)" in report.rows[0].message


@pytest.mark.parametrize("room", [6_000, 200])
def test_a_full_disk_fails_what_does_not_fit_in_one_line_and_leaves_nothing_half_written(
    tmp_path: Path, room: int
) -> None:
    tiles = tiled_slides(tmp_path, ["a"])
    code = (
        "import resource, sys; from wsi2dmamba.cli import main\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))\n"
        "main()\n"
    )
    arguments = ["extract", "--tiles", tiles, "--out", tmp_path / "out", "--workers", "0", "--device", "cpu"]
    run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    said = [line for line in run.stderr.splitlines() if line.startswith("wsi2dmamba: ")]
    assert "Traceback" not in run.stderr and len(said) == 1 and "File too large" in said[0], run.stderr
    assert run.returncode == (1 if room > 1_000 else 2)
    assert not list((tmp_path / "out").rglob("*.h5"))
    assert extract_slides(config(tiles, tmp_path / "out")).rows[0].status == "done"


def test_slides_that_moved_are_found(tmp_path: Path) -> None:
    tiles = tiled_slides(tmp_path, ["a"])
    (tmp_path / "slides").rename(tmp_path / "elsewhere")
    report = extract_slides(config(tiles, tmp_path / "out", slides=tmp_path / "elsewhere"))
    assert report.rows[0].status == "done"


@pytest.mark.parametrize("make", ["absent", "empty"])
def test_a_folder_without_tile_files_is_one_line_and_exit_2(tmp_path: Path, make: str) -> None:
    folder = tmp_path / make
    if make == "empty":
        folder.mkdir()
    command = [sys.executable, "-m", "wsi2dmamba", "extract", "--tiles", str(folder), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "wsi2dmamba tile" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_slide_without_tissue_is_empty_not_failed(tmp_path: Path) -> None:
    tiles = tiled_slides(tmp_path, ["a"])
    path = tiles / "tiles" / "a.h5"
    full = read_tile_file(path)
    none = type(full)(full.coords[:0], full.grid[:0], full.tissue[:0], full.geometry, full.stamp, full.settings)
    write_tile_file(path, none)
    report = extract_slides(config(tiles, tmp_path / "out"))
    assert report.rows[0].status == "empty"
    assert not (tmp_path / "out" / "texture" / "a.h5").exists()


def test_nan_features_fail_their_slide(tmp_path: Path) -> None:
    class Nan(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3)) / (x.mean((2, 3)) - x.mean((2, 3)))

    torch.jit.script(Nan()).save(tmp_path / "nan.pt")
    tiles = tiled_slides(tmp_path, ["a"])
    report = extract_slides(config(tiles, tmp_path / "out", encoder=f"torchscript:{tmp_path / 'nan.pt'}"))
    assert report.failed and "NaN" in report.failed[0].message


@pytest.mark.slow
def test_killed_at_any_moment_and_run_again_gives_the_same_bytes(tmp_path: Path) -> None:
    tiles = tiled_slides(tmp_path, [f"s{index}" for index in range(6)], size=(1024, 768))
    extract_slides(config(tiles, tmp_path / "calm"))
    calm = {path.name: path.read_bytes() for path in (tmp_path / "calm" / "texture").glob("*.h5")}
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "wsi2dmamba", "extract", "--tiles", str(tiles), "--out", str(out)]
    command += ["--device", "cpu", "--workers", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    for wanted in (1, 3):
        run = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while len(list((out / "texture").glob("s*.h5"))) < wanted and run.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
        run.wait()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert {path.name: path.read_bytes() for path in (out / "texture").glob("*.h5")} == calm
    assert not [path for path in (out / "texture").iterdir() if ".partial-" in path.name]


def test_a_worker_process_that_dies_fails_only_its_slide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "deadly.py"
    module.write_text(
        "import os, torch\n"
        "from wsi2dmamba.features.encoders import Encoder, EncoderInfo\n"
        "class Deadly(Encoder):\n"
        "    cheap = True\n"
        "    info = EncoderInfo('deadly', 1, None, None, '1')\n"
        "    def preprocess(self, patches): return patches.float().mean((1, 2, 3), keepdim=True)[:, 0, 0]\n"
        "    def forward(self, inputs):\n"
        "        if (inputs < 60).any(): os._exit(9)\n"
        "        return inputs\n"
        "def make(): return Deadly()\n"
    )
    monkeypatch.chdir(tmp_path)
    tiles = tiled_slides(tmp_path, ["a", "b", "c"])
    dark = svs(tmp_path / "slides" / "b.svs", size=(512, 384), kind="dark")
    write_tile_file(tiles / "tiles" / "b.h5", tiles_of(dark))
    report = extract_slides(config(tiles, tmp_path / "out", encoder="deadly:make", workers=2))
    assert {row.slide_id: row.status for row in report.rows} == {"a": "done", "b": "failed", "c": "done"}
    assert "brought a process down" in report.failed[0].message


def test_settings_of_the_run_are_in_the_file(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    tiles = tiled_slides(tmp_path, ["a"])
    extract_slides(config(tiles, tmp_path / "out"))
    with h5py.File(tmp_path / "out" / "texture" / "a.h5") as file:
        assert json.loads(file.attrs["extraction"])["precision"] == "float32"
        assert file.attrs["complete"] and file.attrs["encoder_revision"] == "texture-2"
        assert file["features"].chunks[0] >= 256


def test_a_damaged_tile_is_counted_or_fails_the_slide(tmp_path: Path) -> None:
    tiles = tiled_slides(tmp_path, ["a"], size=(1024, 768))
    slide = tmp_path / "slides" / "a.svs"
    stamp = slide.stat()
    corrupt_jpeg_tile(slide)
    os.utime(slide, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    skipped = extract_slides(config(tiles, tmp_path / "out"))
    assert skipped.rows[0].status == "done" and 0 < skipped.rows[0].unreadable < 192
    assert len(read_features(tmp_path / "out" / "texture" / "a.h5")) == 192 - skipped.rows[0].unreadable
    again = extract_slides(config(tiles, tmp_path / "out"))
    assert (again.rows[0].status, again.rows[0].unreadable) == ("skipped", skipped.rows[0].unreadable)
    strict = extract_slides(config(tiles, tmp_path / "strict", on_bad_tile="fail"))
    assert strict.failed and "--on-bad-tile" in strict.failed[0].message


def test_slides_staged_on_a_local_disk_give_the_same_bytes(tmp_path: Path) -> None:
    tiles = tiled_slides(tmp_path, ["a", "b", "c", "d"])
    extract_slides(config(tiles, tmp_path / "plain"))
    extract_slides(config(tiles, tmp_path / "staged", cache=tmp_path / "cache"))
    for path in (tmp_path / "plain" / "texture").glob("*.h5"):
        assert path.read_bytes() == (tmp_path / "staged" / "texture" / path.name).read_bytes()
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.slow
def test_a_compiled_network_gives_the_same_features(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "small.py").write_text(
        "import torch\n"
        "def make(): torch.manual_seed(0); return torch.nn.Sequential(\n"
        "    torch.nn.Conv2d(3, 8, 3, stride=4), torch.nn.GELU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())\n"
    )
    tiles = tiled_slides(tmp_path, ["a"])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        for name, compiled in (("plain", False), ("compiled", True)):
            extract_slides(config(tiles, tmp_path / name, encoder="small:make", compile=compiled, batch_size=100))
    one, other = (next((tmp_path / name).rglob("a.h5")) for name in ("plain", "compiled"))
    np.testing.assert_allclose(read_features(one).features, read_features(other).features, rtol=1e-3, atol=1e-4)
    if shutil.which("g++") or shutil.which("cl"):
        assert "uncompiled" not in caplog.text


def test_where_compiling_fails_it_goes_on_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(inputs: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no compiler")

    monkeypatch.setattr("torch.compile", lambda function: broken)
    report = extract_slides(config(tiled_slides(tmp_path, ["a", "b"]), tmp_path / "out", compile=True))
    assert [row.status for row in report.rows] == ["done", "done"]
    assert caplog.text.count("runs uncompiled") == 1


def test_two_devices_share_the_slides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiles = tiled_slides(tmp_path, ["a", "b", "c", "d"])
    extract_slides(config(tiles, tmp_path / "one"))
    both = [torch.device("cpu"), torch.device("cpu", 0)]
    monkeypatch.setattr("wsi2dmamba.features.extract.resolve_devices", lambda names: both)
    report = extract_slides(config(tiles, tmp_path / "two", devices=("0", "1")))
    assert [row.status for row in report.rows] == ["done"] * 4
    for path in (tmp_path / "one" / "texture").glob("*.h5"):
        assert path.read_bytes() == (tmp_path / "two" / "texture" / path.name).read_bytes()


@pytest.mark.slow
def test_a_cluster_with_a_worker_killed_in_the_middle_gives_the_same_files(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    tiles = tiled_slides(tmp_path, [f"s{index}" for index in range(8)], size=(1024, 768))
    (tiles / "tiles" / "cut.h5").write_bytes((tiles / "tiles" / "s0.h5").read_bytes()[:2000])
    extract_slides(config(tiles, tmp_path / "here"))
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        killed: list[int] = []

        def kill_one() -> None:
            folder = tmp_path / "there" / "texture"
            while len(list(folder.glob("s*.h5"))) < 2:
                time.sleep(0.01)
            with distributed.Client(cluster.scheduler_address) as client:
                killed.append(next(iter(client.run(os.getpid).values())))
                os.kill(killed[0], signal.SIGKILL)

        thread = threading.Thread(target=kill_one)
        thread.start()
        report = extract_slides(config(tiles, tmp_path / "there", dask=cluster.scheduler_address))
        thread.join()
    assert killed
    assert {row.slide_id: row.status for row in report.rows} == {**{f"s{i}": "done" for i in range(8)}, "cut": "failed"}
    for path in (tmp_path / "here" / "texture").glob("*.h5"):
        assert path.read_bytes() == (tmp_path / "there" / "texture" / path.name).read_bytes()
    assert list(by_slide(tmp_path / "there").status) == list(by_slide(tmp_path / "here").status)
