from __future__ import annotations

from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.fabricate import feature_cohort, tile_file
from tests.shared_data import shared_path
from wsi2dmamba.cohort.config import CohortConfig
from wsi2dmamba.cohort.matching import match_features
from wsi2dmamba.cohort.table import load_cohort
from wsi2dmamba.core.errors import StoreError
from wsi2dmamba.features.store import FeatureFile, read_features, write_features
from wsi2dmamba.training.config import FeatureSource
from wsi2dmamba.training.data import BagStore, Sample, samples_of
from wsi2dmamba.training.loader import SampleLoader, balancing_weights
from wsi2dmamba.training.mapped import map_blocks
from wsi2dmamba.training.preflight import describe_features


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Sample], BagStore]:
    cohort = feature_cohort(tmp_path_factory.mktemp("cohort"), cases=10)
    matched = match_features(load_cohort(CohortConfig(csv=cohort.csv, label_column="label")), cohort.features)
    return samples_of(matched.cohort.cases, "join"), BagStore(matched.paths, FeatureSource(dir=cohort.features))


def ids(loader: SampleLoader) -> list[list[str]]:
    return [[sample.case.case_id for sample, _ in batch] for batch in loader]


def test_every_epoch_shows_every_case_once_in_another_order(made: tuple[list[Sample], BagStore]) -> None:
    loader = SampleLoader(*made, epochs=2, batch_size=4, seed=1)
    seen = ids(loader)
    assert [len(batch) for batch in seen] == [4, 4, 2, 4, 4, 2]
    first, second = list(chain(*seen[:3])), list(chain(*seen[3:]))
    assert Counter(first) == Counter(second) == Counter(sample.case.case_id for sample in made[0])
    assert first != second


@pytest.mark.parametrize("position", [0, 1, 3, 4, 5])
def test_going_on_shows_what_was_left(made: tuple[list[Sample], BagStore], position: int) -> None:
    whole = ids(SampleLoader(*made, epochs=2, batch_size=4, seed=1))
    loader = SampleLoader(*made, epochs=2, batch_size=4, seed=1)
    loader.position = position
    assert len(loader) == len(whole) - position
    assert ids(loader) == whole[position:]


def test_ranks_share_an_epoch(made: tuple[list[Sample], BagStore]) -> None:
    shares = [SampleLoader(*made, epochs=1, seed=1, rank=rank, world=3) for rank in range(3)]
    assert {len(share) for share in shares} == {4}
    assert {case for share in shares for batch in ids(share) for case in batch} == {s.case.case_id for s in made[0]}


def test_balanced_sampling_draws_classes_equally(made: tuple[list[Sample], BagStore]) -> None:
    samples = [sample for sample in made[0] if sample.case.label == 0] + made[0][1:2]
    loader = SampleLoader(samples, made[1], epochs=300, seed=0, weights=balancing_weights(samples))
    drawn = [samples[index].case.label for epoch in range(300) for index in loader.order(epoch)]
    assert abs(np.mean([label == 1 for label in drawn]) - 0.5) < 0.05


@pytest.mark.parametrize("cache", ["none", "mmap"])
def test_every_way_of_reading_gives_the_same_bags(made: tuple[list[Sample], BagStore], cache: Any) -> None:
    samples, store = made
    fresh = BagStore(store.paths, FeatureSource(dir=store.source.dir, cache=cache))
    for sample in samples:
        fresh.bags(sample)
    for (_, kept), (_, read) in zip(
        (item for batch in SampleLoader(samples, store, epochs=1) for item in batch),
        (item for batch in SampleLoader(samples, fresh, epochs=1) for item in batch),
        strict=True,
    ):
        assert all(
            (a.features == b.features).all() and (a.grid == b.grid).all() for a, b in zip(kept, read, strict=True)
        )
    assert not any(fresh.is_kept(slide) for slide in fresh.paths)


def test_memory_is_bounded(made: tuple[list[Sample], BagStore]) -> None:
    samples, store = made
    small = BagStore(store.paths, FeatureSource(dir=store.source.dir, cache_gb=8000 / 2**30))
    for sample in samples:
        small.bags(sample)
    kept = [slide for slide in small.paths if small.is_kept(slide)]
    assert 0 < len(kept) < len(small.paths)
    assert sum(small.bag(slide).features.nbytes for slide in kept) <= 8000


def spoilt(folder: Path, value: float) -> Path:
    cohort = feature_cohort(folder, cases=2)
    path = next(iter(sorted(cohort.features.glob("*.h5"))))
    file = read_features(path)
    features = file.features.copy()
    features[3, 2] = value
    write_features(path, FeatureFile(features, file.tiles, file.encoder, file.encoder_revision))
    return path


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_features_that_are_not_finite_name_their_file(tmp_path: Path, value: float) -> None:
    path = spoilt(tmp_path, value)
    store = BagStore({"s": path}, FeatureSource(dir=tmp_path))
    with pytest.raises(StoreError, match=rf"{path.name}: 1 of \d+ patches have NaN or infinite"):
        store.bag("s")


def test_large_finite_half_precision_features_are_no_alarm(tmp_path: Path) -> None:
    cohort = feature_cohort(tmp_path, cases=2)
    path = next(iter(cohort.features.glob("*.h5")))
    file = read_features(path)
    big = np.full(file.features.shape, 60000, dtype=np.float16)
    write_features(path, FeatureFile(big, file.tiles, file.encoder, file.encoder_revision))
    assert len(BagStore({"s": path}, FeatureSource(dir=tmp_path)).bag("s")) == len(big)


def test_two_encoders_in_one_folder_are_refused(tmp_path: Path) -> None:
    cohort = feature_cohort(tmp_path, cases=3)
    paths = {path.stem: path for path in sorted(cohort.features.glob("*.h5"))}
    file = read_features(list(paths.values())[1])
    write_features(list(paths.values())[1], FeatureFile(file.features, file.tiles, "another", "1"))
    with pytest.raises(StoreError, match="encoder another instead of made-up"):
        describe_features(paths, FeatureSource(dir=tmp_path))


def test_a_file_cut_short_is_found_before_training(tmp_path: Path) -> None:
    cohort = feature_cohort(tmp_path, cases=3)
    paths = {path.stem: path for path in sorted(cohort.features.glob("*.h5"))}
    cut = list(paths.values())[2]
    cut.write_bytes(cut.read_bytes()[:700])
    with pytest.raises(StoreError, match=f"{cut.name} is not a whole HDF5 file"):
        describe_features(paths, FeatureSource(dir=tmp_path))


@pytest.mark.parametrize("kind", ["clam", "trident"])
def test_real_files_of_other_tools_are_bags(kind: str) -> None:
    folder = {"clam": "interop/clam/h5_files", "trident": "interop/trident/20x_256px_0px_overlap/features_resnet50"}
    path = shared_path(f"data/{folder[kind]}/CMU-1-Small-Region.h5")
    source = FeatureSource(dir=path.parent, on_collision="mean")
    described = describe_features({"s": path}, source)
    bag = BagStore({"s": path}, source).bag("s")
    assert bag.features.shape == (len(bag.grid), described.dim)
    cells = bag.grid[:, 0] * bag.grid_shape[1] + bag.grid[:, 1]
    assert len(cells.unique()) == len(cells)
    assert bag.grid.amin(dim=0).tolist() == [0, 0]


@pytest.mark.parametrize("rows", [1, 1024, 1025, 2500])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_mapped_files_read_as_they_were_written(tmp_path: Path, rows: int, dtype: Any) -> None:
    grid = np.stack(np.divmod(np.arange(rows), 50), axis=1)
    matrix = np.random.default_rng(0).standard_normal((rows, 7)).astype(dtype)
    write_features(tmp_path / "s.h5", FeatureFile(matrix, tile_file("s", grid), "made-up", "1"))
    blocks = map_blocks(tmp_path / "s.h5")
    assert blocks is not None
    np.testing.assert_array_equal(np.concatenate(blocks), matrix)


def test_a_compressed_file_is_not_mapped(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.create_dataset("features", data=np.zeros((600, 8), np.float32), chunks=(256, 8), compression="gzip")
    assert map_blocks(tmp_path / "s.h5") is None
