from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from wsi2dmamba.config import load_config, parse_config, save_config
from wsi2dmamba.core.errors import ConfigError

VALUES: dict[str, Any] = {
    "name": "a-run",
    "cohort": {"csv": "cohort.csv", "label_column": "label"},
    "features": {"dir": "features"},
    "model": {"name": "mean"},
}


def write(path: Path, **sections: Any) -> Path:
    path.write_text(yaml.safe_dump({**VALUES, **sections}))
    return path


def test_overrides_reach_sections_and_are_yaml(tmp_path: Path) -> None:
    config = load_config(
        write(tmp_path / "run.yaml"),
        ["train.lr=1e-3", "train.seeds=[1, 2]", "splits.folds=3", "name=other", "train.clip_norm=null"],
    )
    assert (config.train.lr, config.train.seeds, config.splits.folds, config.name) == (1e-3, (1, 2), 3, "other")


def test_saved_settings_come_back(tmp_path: Path) -> None:
    config = load_config(write(tmp_path / "run.yaml", train={"seeds": [3, 4]}, splits={"kind": "files", "files": "a*"}))
    save_config(tmp_path / "saved.yaml", config)
    assert load_config(tmp_path / "saved.yaml") == config


MAMBA = {"name": "2dmamba", "dim": 32, "corners": 1, "attention_dim": 16}


def test_another_model_leaves_out_and_names_the_options_that_only_the_files_model_has(tmp_path: Path) -> None:
    path, lines = write(tmp_path / "run.yaml", name="a-{model}", model=MAMBA), []
    config = load_config(path, ["model.name=abmil", "model.dropout=0.5"], say=lines.append)
    assert (config.name, config.model.options) == ("a-abmil", {"dim": 32, "attention_dim": 16, "dropout": 0.5})
    assert lines == ["model abmil: left out corners, which the config gives to 2dmamba"]
    assert load_config(path).model.options["corners"] == 1


def test_another_model_forgives_no_typing_error_and_nothing_set_by_hand(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cornerz"):
        load_config(write(tmp_path / "run.yaml", model={**MAMBA, "cornerz": 1}), ["model.name=abmil"])
    with pytest.raises(ConfigError, match="corners"):
        load_config(write(tmp_path / "run.yaml", model=MAMBA), ["model.name=abmil", "model.corners=4"])


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"train": {"epoch": 3}}, "unknown key 'train.epoch' \\(did you mean 'epochs'\\?\\)"),
        ({"trian": {}}, "unknown key 'trian' \\(did you mean 'train'\\?\\)"),
        ({"train": {"epochs": 0}}, "train.epochs: .*greater than or equal to 1"),
        ({"model": {"name": "mena"}}, "no model 'mena'"),
        ({"model": {"name": "mean", "heads": 3}}, "heads"),
        ({"name": "../out"}, "name: "),
        ({"task": {"kind": "survival"}}, "survival needs cohort.time_column"),
        ({"train": {"seeds": [1, 1]}}, "seeds must be"),
        ({"splits": {"kind": "column"}}, "kind: column needs column"),
        ({"cohort": {"csv": "c.csv", "time_column": "t"}}, "needs event_column"),
    ],
)
def test_wrong_settings_are_one_clear_line(tmp_path: Path, sections: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError if "no model" not in message else Exception, match=message) as caught:
        load_config(write(tmp_path / "run.yaml", **sections))
    assert "\n" not in str(caught.value)


def test_files_that_are_no_settings(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no config"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- a\n- b\n")
    with pytest.raises(ConfigError, match="mapping of sections"):
        load_config(tmp_path / "list.yaml")
    (tmp_path / "bad.yaml").write_text("a: [1\nb: 2")
    with pytest.raises(ConfigError, match="no valid YAML"):
        load_config(tmp_path / "bad.yaml")
    with pytest.raises(ConfigError, match=r"not section.key=value"):
        load_config(write(tmp_path / "run.yaml"), ["train.lr"])


def test_yaml_that_would_make_objects_is_refused(tmp_path: Path) -> None:
    (tmp_path / "evil.yaml").write_text("name: !!python/object/apply:os.system ['true']")
    with pytest.raises(ConfigError, match="no valid YAML"):
        load_config(tmp_path / "evil.yaml")


def test_identity_ignores_where_and_how_fast_but_not_what(tmp_path: Path) -> None:
    one = parse_config(VALUES)
    elsewhere = parse_config({**VALUES, "output": "/elsewhere", "train": {"workers": 7, "checkpoint_seconds": 1}})
    assert one.identity() == elsewhere.identity()
    assert one.identity() != parse_config({**VALUES, "train": {"lr": 0.5}}).identity()
    assert one.identity() != parse_config({**VALUES, "model": {"name": "mean", "dim": 3}}).identity()
