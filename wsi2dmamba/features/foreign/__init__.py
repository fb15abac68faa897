"""Patch files of other tools: CLAM, TRIDENT, STAMP and AtlasPatch, read onto one lattice and written back."""

from wsi2dmamba.features.foreign.formats import FORMATS, detect_format
from wsi2dmamba.features.foreign.reading import read_foreign

__all__ = ["FORMATS", "detect_format", "read_foreign"]
