"""What a converted file remembers of the one it came from, so that the way back loses nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from wsi2dmamba.features.foreign.contents import Attributes, read_others

GROUP = "source"
"""Group of our file that remembers the file of another tool it came from."""

_FILE = "file"
_OTHERS = "others"


@dataclass(frozen=True)
class Source:
    """The parts of another tool's file that a feature file has no place for.

    Attributes
    ----------
    format
        Which tool wrote it.
    coords
        Its coordinates unchanged, in its own order.
    row
        (N,) int64: row of the feature file that each of its rows became.
    feature_path
        Where its features stood.
    attributes
        Every attribute of every object.
    others
        Every dataset but the coordinates and these features, by path.
    """

    format: str
    coords: NDArray[Any]
    row: NDArray[np.int64]
    feature_path: str
    attributes: Attributes
    others: dict[str, NDArray[Any]] = field(default_factory=dict)


def write_source(file: h5py.File, source: Source) -> None:
    """Write `source` as the group ``source`` of an open feature file."""
    group = file.create_group(GROUP)
    group.attrs.update(format=source.format, feature_path=source.feature_path)
    group.create_dataset("coords", data=source.coords)
    group.create_dataset("row", data=source.row)
    for name, values in source.others.items():
        group.create_dataset(f"{_OTHERS}/{name}", data=values, dtype=values.dtype)
    objects = group.create_group("objects")
    for name, attributes in source.attributes.items():
        objects.require_group(f"{_FILE}/{name}" if name else _FILE).attrs.update(attributes)


def read_source(file: h5py.File) -> Source | None:
    """Read the group that `write_source` made; None when the file is not converted."""
    if GROUP not in file:
        return None
    group = file[GROUP]
    attributes: Attributes = {"": dict(group["objects"][_FILE].attrs)}

    def visit(name: str, item: h5py.HLObject) -> None:
        if item.attrs:
            attributes[name] = dict(item.attrs)

    group["objects"][_FILE].visititems(visit)
    return Source(
        format=str(group.attrs["format"]),
        coords=group["coords"][:],
        row=group["row"][:],
        feature_path=str(group.attrs["feature_path"]),
        attributes=attributes,
        others=read_others(group[_OTHERS], set()) if _OTHERS in group else {},
    )
