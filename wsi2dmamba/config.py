"""The YAML of a run: one section per stage, each defined by its stage, put together here."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError, model_validator

from wsi2dmamba.cohort.config import CohortConfig, SplitConfig
from wsi2dmamba.core.errors import ConfigError
from wsi2dmamba.core.files import write_text
from wsi2dmamba.core.validation import Settings, one_line
from wsi2dmamba.evaluation.config import EvalConfig
from wsi2dmamba.features.config import ExtractConfig
from wsi2dmamba.slides.config import TileConfig
from wsi2dmamba.training.config import FeatureSource, ModelConfig, TaskConfig, TrainConfig

Section = TypeVar("Section", TileConfig | None, ExtractConfig | None)

# Where a run's settings do not change its result: these may differ when a run goes on.
_WITHOUT_EFFECT = {
    "name": True,
    "output": True,
    "features": {"dir", "cache", "cache_gb"},
    "train": {"workers", "checkpoint_seconds", "track"},
    "cohort": {"csv"},
    "tile": True,
    "extract": True,
    "eval": True,
}


class RunConfig(Settings):
    """All settings of a run.

    Attributes
    ----------
    name
        Name of the run folder; ``{model}`` in it stands for the model's name.
    output
        Folder of the run folders.
    tile, extract
        For `wsi2dmamba run`: how slides become features. Absent: features are there already.
    cohort, features, splits, task, model, train, eval
        The sections.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    output: Path = Path("runs")
    tile: TileConfig | None = None
    extract: ExtractConfig | None = None
    cohort: CohortConfig
    features: FeatureSource
    splits: SplitConfig = SplitConfig()
    task: TaskConfig = TaskConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    eval: EvalConfig = EvalConfig()

    @model_validator(mode="before")
    @classmethod
    def _name_after_the_model(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("name"), str):
            return {**values, "name": values["name"].replace("{model}", _model_name(values))}
        return values

    @model_validator(mode="after")
    def _outcome_for_the_task(self) -> RunConfig:
        needed = {"survival": "time_column", "cox": "time_column", "regression": "target_column"}
        column = needed.get(self.task.kind, "label_column")
        if getattr(self.cohort, column) is None:
            raise ValueError(f"task.kind: {self.task.kind} needs cohort.{column}")
        if self.task.kind == "cox" and self.train.batch_size < 2:
            raise ValueError("task.kind: cox compares patients within a step; set train.batch_size to 2 or more")
        return self

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.output / self.name

    def with_absolute_paths(self) -> RunConfig:
        """Return the settings with absolute paths, so that a run can be repeated from any folder."""
        files = self.splits.files
        patterns = [files] if isinstance(files, str) else files
        absolute = [str(Path(pattern).absolute()) for pattern in patterns] if patterns else None
        return self.model_copy(
            update={
                "tile": _absolute(self.tile, ("out",), ("slides",)),
                "extract": _absolute(self.extract, ("tiles", "out", "slides", "cache"), ()),
                "output": self.output.absolute(),
                "cohort": self.cohort.model_copy(update={"csv": self.cohort.csv.absolute()}),
                "features": self.features.model_copy(update={"dir": self.features.dir.absolute()}),
                "splits": self.splits.model_copy(update={"files": absolute}),
            }
        )

    def identity(self) -> dict[str, Any]:
        """Return what decides the trained weights: everything but paths, judging, and how the work is spread."""
        return self.model_dump(mode="json", exclude=_WITHOUT_EFFECT)  # type: ignore[arg-type]


def _absolute(section: Section, paths: Sequence[str], lists: Sequence[str]) -> Section:
    if section is None:
        return section
    single = {name: getattr(section, name) for name in paths}
    update: dict[str, Any] = {name: path.absolute() for name, path in single.items() if path is not None}
    update |= {name: tuple(path.absolute() for path in getattr(section, name)) for name in lists}
    return section.model_copy(update=update)


def load_config(path: Path, overrides: Sequence[str] = (), say: Callable[[str], None] = lambda line: None) -> RunConfig:
    """Read a run's YAML.

    Where an override names another model, options of the file that its own model takes and the other refuses are left
    out.

    Parameters
    ----------
    path
        The YAML file; relative paths in it start at the current folder.
    overrides
        ``section.key=value`` each, the value as YAML, e.g. ``train.lr=1e-4`` or ``model.name=abmil``.
    say
        Is told which options are left out.

    Raises
    ------
    ConfigError
        A missing or malformed file, an unknown key (with the nearest known one), a wrong value, an unknown model or
        model option.
    """
    values = _read_yaml(path)
    written_for = _model_name(values)
    for override in overrides:
        apply_override(values, override)
    if _model_name(values) != written_for:
        _leave_foreign_options_out(values, written_for, overrides, say)
    config = parse_config(values, str(path))
    # Only now is torch imported: the model's own options are defined beside the model.
    from wsi2dmamba.models.registry import parse_options

    parse_options(config.model.name, config.model.options)
    return config


def _leave_foreign_options_out(
    values: dict[str, Any], written_for: str, overrides: Sequence[str], say: Callable[[str], None]
) -> None:
    """Drop options that the file's model takes and the new one refuses; typing errors and --set values stay."""
    from wsi2dmamba.models.registry import refused_options

    name = _model_name(values)
    options = {key: value for key, value in values["model"].items() if key != "name"}
    set_by_hand = {override.partition("=")[0].strip().removeprefix("model.") for override in overrides}
    foreign = refused_options(name, options) - refused_options(written_for, options) - set_by_hand
    values["model"] = {key: value for key, value in values["model"].items() if key not in foreign}
    if foreign:
        say(f"model {name}: left out {', '.join(sorted(foreign))}, which the config gives to {written_for}")


def _model_name(values: dict[str, Any]) -> str:
    section = values.get("model")
    return str(section.get("name", ModelConfig().name) if isinstance(section, dict) else ModelConfig().name)


def parse_config(values: dict[str, Any], where: str = "config") -> RunConfig:
    """Check the values of a run's settings.

    Raises
    ------
    ConfigError
        An unknown key or a wrong value, in one line.
    """
    try:
        return RunConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {one_line(error, known_keys(RunConfig))}") from error


def save_config(path: Path, config: RunConfig) -> None:
    """Write the settings as YAML."""
    import yaml

    write_text(path, yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True))


def known_keys(model: type[BaseModel]) -> dict[str, Any]:
    """Return the nested keys of a settings model."""
    return {name: _nested_keys(field.annotation) for name, field in model.model_fields.items()}


def _nested_keys(annotation: Any) -> dict[str, Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return known_keys(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        for choice in get_args(annotation):
            if keys := _nested_keys(choice):
                return keys
    return {}


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    if not path.is_file():
        raise ConfigError(f"there is no config {path}; `wsi2dmamba init` writes one")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must be a mapping of sections (name, cohort, features, …)")
    return values


def apply_override(values: dict[str, Any], override: str) -> None:
    """Put one ``section.key=value`` of the command line into the nested `values`.

    Raises
    ------
    ConfigError
        If it is not of that form.
    """
    import yaml

    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {override!r} is not section.key=value, e.g. --set train.lr=1e-4")
    try:
        value: Any | Literal[""] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override!r}: the value is no valid YAML") from error
    level = values
    *sections, last = key.strip().split(".")
    for section in sections:
        inner = level.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override!r}: {section} is a value, not a section")
        level = inner
    level[last] = value
