from pathlib import Path

import pytest

from tests.fabricate import svs, truncate
from wsi2dmamba.slides.config import TileConfig
from wsi2dmamba.slides.tile import tile_slides


@pytest.mark.slow
def test_a_cluster_writes_the_same_tile_files_and_summary_as_one_machine(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    for seed in range(3):
        svs(tmp_path / "slides" / f"s{seed}.svs", size=(1024, 768), seed=seed)
    truncate(svs(tmp_path / "slides" / "cut.svs", size=(1024, 768)), 0.02)
    here = tile_slides(TileConfig(slides=(tmp_path / "slides",), out=tmp_path / "here", patch_px=64, workers=1))
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        there = tile_slides(
            TileConfig(
                slides=(tmp_path / "slides",), out=tmp_path / "there", patch_px=64, dask=cluster.scheduler_address
            )
        )
    assert [(row.slide, row.status, row.patches) for row in here.rows] == [
        (row.slide, row.status, row.patches) for row in there.rows
    ]
    assert len(there.failed) == 1
    for path in (tmp_path / "here" / "tiles").glob("*.h5"):
        assert path.read_bytes() == (tmp_path / "there" / "tiles" / path.name).read_bytes()
