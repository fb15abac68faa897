from pathlib import Path

import numpy as np

from tests.fabricate import feature_cohort
from wsi2dmamba.features.store import read_features


def test_cohort_files_hold_what_the_table_says(tmp_path: Path) -> None:
    cohort = feature_cohort(tmp_path, cases=8)
    assert {path.stem for path in cohort.features.glob("*.h5")} == set(cohort.table.slide_id)
    file = read_features(cohort.features / f"{cohort.table.slide_id[0]}.h5")
    np.testing.assert_array_equal(file.tiles.geometry.lattice.cells(file.tiles.coords), file.tiles.grid)
