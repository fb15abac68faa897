"""Folder names for encoders that have no name of their own."""

from __future__ import annotations

import re
from pathlib import PurePath


def folder_name(source: str) -> str:
    """Return a safe folder name for a hub id, file or folder: its last part, without odd characters."""
    stem = PurePath(source.partition("@")[0]).name
    for suffix in (".pt2", ".pt", ".ts", ".jit", ".pth"):
        stem = stem.removesuffix(suffix)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-.") or "encoder"
