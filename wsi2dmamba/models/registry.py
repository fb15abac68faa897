"""Aggregators by name, each with its own options."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from wsi2dmamba.core.errors import ConfigError, ModelError
from wsi2dmamba.core.validation import one_line
from wsi2dmamba.models.base import Aggregator


@dataclass(frozen=True)
class ModelEntry:
    """Where a model is, and what it is; the module is imported only when the model is asked for.

    Attributes
    ----------
    module
        Module that holds it.
    class_name
        Its `Aggregator`; the class attribute `Options` is its pydantic options.
    title
        One line for `wsi2dmamba models`.
    paper
        Where it was published.
    """

    module: str
    class_name: str
    title: str
    paper: str


MODELS: dict[str, ModelEntry] = {
    "abmil": ModelEntry(
        "wsi2dmamba.models.abmil",
        "GatedAttentionMIL",
        "gated attention pooling; knows nothing of positions",
        "Ilse et al., ICML 2018, arXiv 1802.04712",
    ),
    "mean": ModelEntry(
        "wsi2dmamba.models.mean",
        "MeanPooling",
        "mean of the projected patches; the floor every model must beat",
        "—",
    ),
    "max": ModelEntry(
        "wsi2dmamba.models.max",
        "MaxPooling",
        "strongest patch of every channel",
        "—",
    ),
}


def model_names() -> list[str]:
    """Return the names that `model.name` takes."""
    return list(MODELS)


def model_class(name: str) -> type[Aggregator]:
    """Return the aggregator class called `name`.

    Raises
    ------
    ModelError
        If there is none of that name.
    """
    if name not in MODELS:
        raise ModelError(f"there is no model {name!r}; model.name is one of {', '.join(MODELS)}")
    entry = MODELS[name]
    found: type[Aggregator] = getattr(importlib.import_module(entry.module), entry.class_name)
    return found


def parse_options(name: str, options: dict[str, Any]) -> BaseModel:
    """Check the options of a model.

    Raises
    ------
    ConfigError
        If an option is unknown or has a wrong value.
    """
    try:
        parsed: BaseModel = model_class(name).Options.model_validate(options)  # type: ignore[attr-defined]
    except ValidationError as error:
        raise ConfigError(f"model {name!r}: {one_line(error)}") from error
    return parsed


def build_model(name: str, in_dim: int, out_dim: int, options: dict[str, Any] | None = None) -> Aggregator:
    """Build an aggregator.

    Parameters
    ----------
    name
        One of `model_names()`.
    in_dim
        Number of features per patch.
    out_dim
        Number of outputs the task asks for.
    options
        The model's own options; unknown ones are refused.

    Raises
    ------
    ModelError, ConfigError
        For an unknown name, and unknown or wrong options.
    """
    return model_class(name)(in_dim, out_dim, parse_options(name, options or {}))  # type: ignore[call-arg, arg-type]
