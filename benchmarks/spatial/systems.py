"""Every system at the same number of parameters."""

from __future__ import annotations

from functools import cache
from typing import Any

from benchmarks.spatial.cohort import FEATURES
from wsi2dmamba.models.registry import build_model, model_class

PARAMETERS = 12_000
"""What every system gets, within `TOLERANCE`, by its width alone."""
TOLERANCE = 0.15

_FIXED: dict[str, Any] = {"dropout": 0.1, "state": 8, "heads": 4}
_OWN_STATE = ("spatial-mamba", "s4mil")
_WIDTHS = range(8, 513, 4)


def count_parameters(model: str, options: dict[str, Any]) -> int:
    """Return the number of parameters of a model with two outputs."""
    return sum(parameter.numel() for parameter in build_model(model, FEATURES, 2, options).parameters())


def options_at(model: str, width: int) -> dict[str, Any]:
    """Return the options of a model at a width, with eight states where the paper leaves their number open."""
    known = model_class(model).Options.model_fields  # type: ignore[attr-defined]
    wanted = {**_FIXED, "dim": width, "attention_dim": width, "query_dim": width}
    if model in _OWN_STATE:
        del wanted["state"]
    return {name: value for name, value in wanted.items() if name in known}


@cache
def _width(model: str) -> int:
    return min(_WIDTHS, key=lambda width: abs(count_parameters(model, options_at(model, width)) - PARAMETERS))


def equal_options(model: str) -> dict[str, Any]:
    """Return the options at which a model has as nearly `PARAMETERS` parameters as its width allows."""
    return options_at(model, _width(model))
