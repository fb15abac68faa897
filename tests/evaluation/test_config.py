import pytest
from pydantic import ValidationError

from wsi2dmamba.evaluation.config import EvalConfig


def test_defaults_are_the_documented_ones() -> None:
    config = EvalConfig()
    assert (config.resamples, config.confidence, config.seed, config.threshold) == (1000, 0.95, 0, "youden")


@pytest.mark.parametrize("bad", [{"resample": 10}, {"confidence": 95}, {"resamples": 0}, {"threshold": "best"}])
def test_bad_settings_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        EvalConfig(**bad)
