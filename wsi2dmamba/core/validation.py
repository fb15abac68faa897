"""Pydantic settings that refuse unknown keys and explain themselves in one line."""

from __future__ import annotations

import difflib
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError


class Settings(BaseModel):
    """Base of every settings model: frozen, and an unknown key is an error, never ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def one_line(error: ValidationError, known: dict[str, Any] | None = None) -> str:
    """Return a validation error as one line: key by key, what is wrong.

    Parameters
    ----------
    error
        What pydantic raised.
    known
        Optional nested dictionary of known keys, for "did you mean".
    """
    parts = []
    for problem in error.errors():
        where = ".".join(str(piece) for piece in problem["loc"])
        if problem["type"] == "extra_forbidden":
            parts.append(f"unknown key {where!r}{_suggestion(problem['loc'], known)}")
        else:
            said = str(problem["msg"]).removeprefix("Value error, ")
            parts.append(f"{where}: {said}" if where else said)
    return "; ".join(parts)


def _suggestion(location: tuple[int | str, ...], known: dict[str, Any] | None) -> str:
    level: Any = known or {}
    for piece in location[:-1]:
        level = level.get(piece, {}) if isinstance(level, dict) else {}
    close = difflib.get_close_matches(str(location[-1]), list(level) if isinstance(level, dict) else [], n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
