"""Guesses which column of a table means what, from the names published tables use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# Lower-case, letters and digits only; the first that a table has wins.
_NAMES: dict[str, tuple[str, ...]] = {
    "slide": ("slideid", "slide", "filename", "wsiid", "wsi", "wsifilename", "imageid", "image", "slidename"),
    "case": ("caseid", "patientid", "patient", "casesubmitterid", "submitterid", "case"),
    "label": ("label", "class", "diagnosis", "isupgrade", "grade", "subtype", "wsilabel", "oncotreecode", "type"),
    "time": ("survivalmonths", "time", "osmonths", "ostime", "survivaltime", "survivaldays", "months", "days"),
    "event": ("event", "status", "osstatus", "osevent", "dead", "death", "deceased"),
    "censorship": ("censorship", "censored", "censor"),
    "split": ("split", "datasplit", "set", "subset", "partition"),
    "site": ("site", "center", "centre", "hospital", "institution", "dataprovider", "tss"),
}  # fmt: skip


@dataclass(frozen=True)
class Guess:
    """Column of each meaning, or None where the table has none that is named so."""

    slide: str | None
    case: str | None
    label: str | None
    time: str | None
    event: str | None
    censorship: str | None
    split: str | None
    site: str | None


def guess_columns(columns: Sequence[str]) -> Guess:
    """Return the columns that are named as published tables name them."""
    plain: dict[str, str] = {}
    for column in columns:
        plain.setdefault(re.sub(r"[^a-z0-9]", "", column.lower()), column)
    found = {meaning: next((plain[name] for name in names if name in plain), None) for meaning, names in _NAMES.items()}
    return Guess(**found)
