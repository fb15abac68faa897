"""One trained run for all tests of this package: training is what takes time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.runs import quick_run
from wsi2dmamba.training.run import train_run


@pytest.fixture(scope="session")
def classification_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two folds on 20 made-up patients; `<run>/../../features` holds its features."""
    return train_run(quick_run(tmp_path_factory.mktemp("run"), cases=20, train={"epochs": 5}), workers=1)


@pytest.fixture(scope="session")
def survival_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for survival."""
    config = quick_run(tmp_path_factory.mktemp("run"), task="survival", cases=16, train={"epochs": 2})
    return train_run(config, workers=1)
