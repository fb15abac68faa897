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
    cost
        What its time grows with; cells are those of the slide's bounding box, patches those with tissue.
    """

    module: str
    class_name: str
    title: str
    paper: str
    cost: str


MODELS: dict[str, ModelEntry] = {
    "2dmamba": ModelEntry(
        "wsi2dmamba.models.two_d_mamba",
        "TwoDMamba",
        "2D selective scan over the patch grid, attention pooling over tissue",
        "Zhang et al., CVPR 2025, arXiv 2412.00678",
        "cells",
    ),
    "2dvmamba": ModelEntry(
        "wsi2dmamba.models.two_d_vmamba",
        "TwoDVMamba",
        "2D selective scans from the four corners, own parameters each",
        "Zhang et al., CVPR 2025, arXiv 2412.00678",
        "4·cells",
    ),
    "vmamba": ModelEntry(
        "wsi2dmamba.models.vmamba",
        "VMamba",
        "1D scans along rows, columns and both reversed (SS2D)",
        "Liu et al., NeurIPS 2024, arXiv 2401.10166",
        "4·cells",
    ),
    "v2m": ModelEntry(
        "wsi2dmamba.models.v2m",
        "V2M",
        "row scan, then column scan (Roesser), over four rotations",
        "Wang et al., 2024, arXiv 2410.10382",
        "8·cells",
    ),
    "mamba2d": ModelEntry(
        "wsi2dmamba.models.mamba2d",
        "Mamba2D",
        "2D recurrence over all lattice paths (wavefront)",
        "Baty et al., 2024, arXiv 2412.16146",
        "cells",
    ),
    "spatial-mamba": ModelEntry(
        "wsi2dmamba.models.spatial_mamba",
        "SpatialMamba",
        "1D scan, states fused with their neighbours",
        "Xiao et al., ICLR 2025, arXiv 2410.15091",
        "cells",
    ),
    "vim": ModelEntry(
        "wsi2dmamba.models.vim",
        "Vim",
        "forward and backward 1D scans with absolute positions",
        "Zhu et al., ICML 2024, arXiv 2401.09417",
        "2·patches",
    ),
    "mambamil": ModelEntry(
        "wsi2dmamba.models.mambamil",
        "MambaMIL",
        "1D scan over the list of patches",
        "Yang et al., MICCAI 2024, arXiv 2403.06800",
        "patches",
    ),
    "srmamba": ModelEntry(
        "wsi2dmamba.models.srmamba",
        "SRMamba",
        "1D scans over the list and the stride-reordered list",
        "Yang et al., MICCAI 2024, arXiv 2403.06800",
        "2·patches",
    ),
    "hi-mamba": ModelEntry(
        "wsi2dmamba.models.hi_mamba",
        "HiMamba",
        "scans within windows and over pooled regions",
        "Qiao et al., 2024, arXiv 2410.10140",
        "cells",
    ),
    "mamba-in-mamba": ModelEntry(
        "wsi2dmamba.models.mamba_in_mamba",
        "MambaInMamba",
        "scans within regions (words) and among them (sentences)",
        "Chen et al., TGRS 2024, arXiv 2403.02148",
        "2·cells",
    ),
    "s4mil": ModelEntry(
        "wsi2dmamba.models.s4mil",
        "S4MIL",
        "linear state-space model over the list, max pooling",
        "Fillioux et al., MICCAI 2023, arXiv 2306.15789",
        "patches·log patches",
    ),
    "abmil": ModelEntry(
        "wsi2dmamba.models.abmil",
        "GatedAttentionMIL",
        "gated attention pooling; knows nothing of positions",
        "Ilse et al., ICML 2018, arXiv 1802.04712",
        "patches",
    ),
    "clam-sb": ModelEntry(
        "wsi2dmamba.models.clam",
        "ClamSB",
        "gated attention with an instance loss, one branch",
        "Lu et al., Nat. Biomed. Eng. 2021, arXiv 2004.09666",
        "patches",
    ),
    "clam-mb": ModelEntry(
        "wsi2dmamba.models.clam",
        "ClamMB",
        "gated attention with an instance loss, a branch per class",
        "Lu et al., Nat. Biomed. Eng. 2021, arXiv 2004.09666",
        "patches",
    ),
    "dsmil": ModelEntry(
        "wsi2dmamba.models.dsmil",
        "DSMIL",
        "critical patch and attention to what resembles it",
        "Li et al., CVPR 2021, arXiv 2011.08939",
        "patches",
    ),
    "transmil": ModelEntry(
        "wsi2dmamba.models.transmil",
        "TransMIL",
        "Nyström self-attention with convolutional positions",
        "Shao et al., NeurIPS 2021, arXiv 2106.00908",
        "patches·landmarks",
    ),
    "mean": ModelEntry(
        "wsi2dmamba.models.mean",
        "MeanPooling",
        "mean of the projected patches; the floor every model must beat",
        "—",
        "patches",
    ),
    "max": ModelEntry("wsi2dmamba.models.max", "MaxPooling", "strongest patch of every channel", "—", "patches"),
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


def refused_options(name: str, options: dict[str, Any]) -> set[str]:
    """Return which options a model does not know, or not with that value; none for an unknown model."""
    if name not in MODELS:
        return set()
    try:
        model_class(name).Options.model_validate(options)  # type: ignore[attr-defined]
    except ValidationError as error:
        return {str(one["loc"][0]) for one in error.errors() if one["loc"]}
    return set()


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
