"""A run's folder: whose it is, and what stands in it before the training starts."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from wsi2dmamba.cohort.folds import Fold
from wsi2dmamba.cohort.matching import Matched
from wsi2dmamba.cohort.saved import save_splits
from wsi2dmamba.cohort.summary import cohort_json
from wsi2dmamba.config import RunConfig, load_config, save_config
from wsi2dmamba.core.errors import ConfigError, WSI2DMambaError
from wsi2dmamba.core.files import make_folder, remove_partials, write_json
from wsi2dmamba.training.fit import PREDICTIONS


def inputs_digest(matched: Matched) -> str:
    """Return a digest of what the run learns from: patients, outcomes, and the identity of every feature file."""
    digest = hashlib.sha256()
    for case in matched.cohort.cases:
        known = (case.case_id, case.slide_ids, case.label, case.time, case.event, case.target)
        digest.update(json.dumps(known).encode())
    for slide_id, path in sorted(matched.paths.items()):
        stat = path.stat()
        digest.update(f"{slide_id} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()


def claim_folder(config: RunConfig, digest: str, overwrite: bool) -> None:
    """Make sure that what a run's folder holds is of the same settings and inputs, or delete it if that is asked for.

    Raises
    ------
    ConfigError
        If it is of others and `overwrite` is not set.
    """
    folder = config.folder
    state = folder / "inputs.json"
    if not (folder / "config.yaml").is_file():
        return
    difference = _difference(config, folder, digest)
    if not difference:
        return
    if not overwrite:
        raise ConfigError(f"{folder} holds a run with {difference}; use --overwrite, or another name")
    for old in folder.glob("fold-*"):
        shutil.rmtree(old)
    shutil.rmtree(folder / "eval", ignore_errors=True)
    for old in (folder / PREDICTIONS, folder / "splits.csv", folder / "config.yaml", state):
        old.unlink(missing_ok=True)


def _difference(config: RunConfig, folder: Path, digest: str) -> str:
    try:
        earlier = load_config(folder / "config.yaml").identity()
    except WSI2DMambaError:
        return "settings that this version cannot read"
    now = config.identity()
    if earlier != now:
        keys = [
            f"{section}.{key}" if isinstance(now[section], dict) else section
            for section in now
            for key in (now[section] if isinstance(now[section], dict) else [section])
            if isinstance(now[section], dict) and now[section].get(key) != (earlier.get(section) or {}).get(key)
        ]
        return f"other settings ({', '.join(keys) or 'model options'})"
    state = folder / "inputs.json"
    if state.is_file() and json.loads(state.read_text(encoding="utf-8")).get("digest") != digest:
        return "another cohort table or other features (they have changed since)"
    return ""


def lay_out(config: RunConfig, matched: Matched, folds: Sequence[Fold]) -> None:
    """Write everything that is known before training: settings, splits, cohort, environment."""
    from wsi2dmamba.core.environment import describe_environment

    folder = make_folder(config.folder)
    remove_partials(folder)
    write_json(folder / "inputs.json", {"digest": inputs_digest(matched)})
    write_json(folder / "cohort.json", cohort_json(matched.cohort, matched.unlabelled))
    write_json(folder / "environment.json", describe_environment())
    save_splits(folder / "splits.csv", folds)
    save_config(folder / "config.yaml", config)
