"""The backends as a fixture."""

import pytest

from scan2d.tests.problems import BACKENDS, BackendUnderTest, skip_if_unavailable


@pytest.fixture(params=BACKENDS, ids=lambda backend: f"{backend.name}-{backend.device}")
def backend(request: pytest.FixtureRequest) -> BackendUnderTest:
    """Every backend that can run here."""
    return skip_if_unavailable(request.param)
