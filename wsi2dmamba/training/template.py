"""The commented YAML that `wsi2dmamba init` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from wsi2dmamba.cohort.columns import Guess, guess_columns
from wsi2dmamba.cohort.reading import near_miss, read_table
from wsi2dmamba.core.errors import InputError

_TEMPLATE = """\
# Settings of one run. `wsi2dmamba train --config {file}` trains it, `wsi2dmamba eval {folder}` judges it.
# Every setting can be changed on the command line: --set train.epochs=30. Relative paths start at the current folder.
name: {name}
output: {output}              # the run goes to {folder}

cohort:                       # one row per slide
  csv: {csv}
  slide_column: {slide}
  case_column: {case}         # the patient; null = every slide is its own patient
{outcome}
  # where: {{column: [value, …]}}     keep only some rows

features:
  dir: {features}             # one .h5 per slide, of one encoder
  cache: memory               # memory, mmap or none

splits:                       # patients are never divided
{splits}
  validation_fraction: 0.15   # held back from training to choose the epoch
  seed: 0

task:
{task}

model:
  name: {model}               # `wsi2dmamba models` lists them with their options

train:
  epochs: 20
  lr: 1.0e-4                  # AdamW, cosine to 0
  weight_decay: 1.0e-5
  warmup_epochs: 0
  accumulate: 1               # patients per move of the weights
  patience: null              # epochs without a better validation loss before stopping
  seeds: [0]                  # one training per seed and fold
{batch}
eval:
  resamples: 1000             # of the patients, for the intervals
  confidence: 0.95
  seed: 0
"""


def config_text(
    *,
    file: Path,
    csv: Path,
    features: Path,
    task: str | None,
    model: str,
    name: str | None,
    given: dict[str, str | None],
) -> str:
    """Return a commented config for a table.

    Parameters
    ----------
    file
        Where the text will be saved (for its own comments).
    csv, features
        The table and the feature folder.
    task
        What to learn; None: survival if the table has a time and no label, else classification.
    model, name
        Aggregator and run name (None: the table's name).
    given
        Columns the user named, by meaning (slide, case, label, time, event, censorship, split, site, target); others
        are guessed.

    Raises
    ------
    InputError
        If a column is neither given nor recognised.
    """
    columns = [str(column) for column in read_table(csv).columns]
    for column in filter(None, given.values()):
        if column not in columns:
            raise InputError(f"{csv} has no column {column!r}{near_miss(column, columns)}; it has {', '.join(columns)}")
    guess = guess_columns(columns)
    meaning = {key: given.get(key) or getattr(guess, key) for key in guess.__dict__}
    if given.get("event") and not given.get("censorship"):
        meaning["censorship"] = None
    kind = task or _task_of(meaning, given)
    run = name or csv.name.split(".")[0]
    return _TEMPLATE.format(
        file=file,
        name=_plain(run),
        output="runs",
        folder=f"runs/{run}",
        csv=_plain(str(csv)),
        slide=_plain(_needed(meaning["slide"], "slide", csv, columns)),
        case=_plain(meaning["case"]),
        outcome=_outcome(kind, meaning, given, csv, columns),
        features=_plain(str(features)),
        splits=_splits(given, guess),
        task=_task(kind),
        model=model,
        batch="  batch_size: 16              # patients whose risks are compared\n" if kind == "cox" else "",
    )


def _task_of(meaning: dict[str, str | None], given: dict[str, str | None]) -> str:
    if given.get("target"):
        return "regression"
    wants_time = bool(given.get("time")) or (meaning["time"] is not None and not given.get("label"))
    has_event = meaning["event"] or meaning["censorship"]
    return (
        "survival"
        if wants_time and has_event and not (meaning["label"] and not given.get("time"))
        else "classification"
    )


def _outcome(
    kind: str, meaning: dict[str, str | None], given: dict[str, str | None], csv: Path, columns: list[str]
) -> str:
    if kind in ("survival", "cox"):
        event = "censorship" if meaning["censorship"] else "event"
        note = "1 = censored" if event == "censorship" else "1 = the event was seen"
        return (
            f"  time_column: {_plain(_needed(meaning['time'], 'time', csv, columns))}\n"
            f"  {event}_column: {_plain(_needed(meaning[event], 'event', csv, columns))}   # {note}"
        )
    if kind == "regression":
        return f"  target_column: {_plain(_needed(given.get('target'), 'target', csv, columns))}"
    note = "  # lowest class first: class_names: [a, b, c]\n" if kind == "ordinal" else ""
    label = _plain(_needed(meaning["label"], "label", csv, columns))
    return f"{note}  label_column: {label}\n  # label_map: {{value in the table: class name, …}}"


def _splits(given: dict[str, str | None], guess: Guess) -> str:
    if given.get("site"):
        return f"  kind: site                  # every site is tested once\n  column: {_plain(given['site'])}"
    split = given.get("split") or guess.split
    if split:
        return f"  kind: column                # train, validation, test, or a fold number\n  column: {_plain(split)}"
    return "  kind: kfold                 # kfold, montecarlo, site, column or files\n  folds: 5"


def _task(kind: str) -> str:
    more = {
        "survival": "\n  bins: 4                     # time intervals: quantiles of the training patients' event times",
        "classification": "\n  class_weights: none         # none, balanced or a list\n  label_smoothing: 0.0",
    }
    return f"  kind: {kind}{more.get(kind, '')}"


def _needed(column: str | None, meaning: str, csv: Path, columns: list[str]) -> str:
    if column is None:
        raise InputError(f"which column of {csv} is the {meaning}? give --{meaning}; it has {', '.join(columns)}")
    return column


def _plain(value: Any) -> str:
    """Return a scalar as YAML writes it, quoted where it must be."""
    return yaml.safe_dump(value, allow_unicode=True, width=10_000).replace("\n...", "").strip()
