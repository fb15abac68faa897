"""Exact identity of local weights, so that features of one file are never mistaken for another's."""

from __future__ import annotations

import hashlib
from pathlib import Path

from wsi2dmamba.core.errors import EncoderError


def file_revision(*files: Path) -> str:
    """Return ``sha256:`` and the first 16 hexadecimal digits over the contents of `files`, in the order given.

    Raises
    ------
    EncoderError
        If a file cannot be read.
    """
    digest = hashlib.sha256()
    for file in files:
        try:
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise EncoderError(f"encoder file {file} cannot be read: {error.strerror}") from error
    return f"sha256:{digest.hexdigest()[:16]}"
