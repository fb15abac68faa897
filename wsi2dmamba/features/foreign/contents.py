"""Everything an HDF5 file holds, whatever it means."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

Attributes = dict[str, dict[str, Any]]
"""Attributes by object: ``""`` is the file, other keys are paths of datasets and groups."""


def read_attributes(file: h5py.File) -> Attributes:
    """Return every attribute of a file, by object."""
    found: Attributes = {"": dict(file.attrs)}

    def visit(name: str, item: h5py.HLObject) -> None:
        if item.attrs:
            found[name] = dict(item.attrs)

    file.visititems(visit)
    return found


def read_others(file: h5py.File | h5py.Group, known: set[str]) -> dict[str, NDArray[Any]]:
    """Return every dataset but the `known` ones, by path; the dtype keeps what HDF5 says of strings."""
    found: dict[str, NDArray[Any]] = {}

    def visit(name: str, item: h5py.HLObject) -> None:
        if isinstance(item, h5py.Dataset) and name not in known:
            found[name] = np.asarray(item[()], dtype=item.dtype)

    file.visititems(visit)
    return found
