"""Where a model looked: attention and contribution of every patch of a slide."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from wsi2dmamba.core.errors import EvaluationError
from wsi2dmamba.core.progress import track
from wsi2dmamba.evaluation.bootstrap import Floats
from wsi2dmamba.evaluation.influence import influence
from wsi2dmamba.evaluation.targets import target_gradient, target_name
from wsi2dmamba.features.store import read_features
from wsi2dmamba.models.base import Bag
from wsi2dmamba.slides.tilefile import TileFile
from wsi2dmamba.training.checkpoint import TrainedModel, load_model, trained_folders
from wsi2dmamba.training.config import FeatureSource
from wsi2dmamba.training.data import bag_of

SCORES = ("attention", "contribution", "influence")


@dataclass(frozen=True)
class PatchScores:
    """Scores of the patches of one slide, in the order of the tile file.

    Attributes
    ----------
    tiles
        Where the patches are.
    attention
        (N,) averaged over the models, summing to one.
    contribution
        (N,) what each patch's token adds to `target`, averaged over the models; None where a head allows no such
        reading.
    influence
        (N,) by how much each patch raises `target` against random patches in its place, averaged over the models;
        None where it was not asked for.
    target
        What contribution and influence are about, e.g. ``"log-odds of tumour"``.
    models
        Names of the trainings that were asked.
    held_out
        Whether the slide's patient was a test patient of all of them.
    """

    tiles: TileFile
    attention: Floats
    contribution: Floats | None
    influence: Floats | None
    target: str
    models: tuple[str, ...]
    held_out: bool

    def rank(self, name: str) -> Floats:
        """Return the share of patches that score lower (0 to 1), ties in the middle."""
        return np.asarray((pd.Series(self.values(name)).rank() - 0.5) / len(self.tiles), dtype=np.float64)

    def values(self, name: str) -> Floats:
        """Return the (N,) score of one of `names`."""
        values: Floats = getattr(self, name)
        return values

    @property
    def names(self) -> tuple[str, ...]:
        """The scores there are."""
        return tuple(name for name in SCORES if getattr(self, name) is not None)

    def table(self) -> pd.DataFrame:
        """Return one line per patch: level-0 corner, lattice cell, scores and their ranks."""
        columns = {
            "x_level0": self.tiles.coords[:, 0],
            "y_level0": self.tiles.coords[:, 1],
            "row": self.tiles.grid[:, 0],
            "col": self.tiles.grid[:, 1],
        }
        scores = {name: self.values(name) for name in self.names}
        return pd.DataFrame({**columns, **scores, **{f"{name}_rank": self.rank(name) for name in self.names}})


def score_patches(
    run: Path,
    feature_file: Path,
    *,
    source: FeatureSource,
    fold: int | None = None,
    of_class: str | None = None,
    passes: int = 0,
) -> PatchScores:
    """Ask a run's models about the patches of one slide.

    Parameters
    ----------
    run
        A run folder.
    feature_file
        Features of the slide, of the encoder that the run was trained on.
    source
        The run's feature settings (how files of other tools are read).
    fold
        Only this fold's models. Otherwise those that had the slide's patient in their test set, or, for a slide that
        is not of the run, all of them.
    of_class
        Class whose log-odds the contribution is about; default: the most probable one.
    passes
        Most forward passes of each model for the influence; 0 leaves it out.

    Raises
    ------
    EvaluationError
        If the features do not fit, or the class or fold is unknown.
    CheckpointError
        If a model cannot be read.
    """
    file = read_features(feature_file, source.on_collision, source.encoder)
    bag = bag_of(file, feature_file)
    folders, held_out = _choose_models(run, file.tiles.geometry.slide_id, fold)
    models = [load_model(folder) for folder in folders]
    if bag.features.shape[1] != models[0].features.dim:
        raise EvaluationError(
            f"{feature_file} has {bag.features.shape[1]} features per patch, the run was trained on "
            f"{models[0].features.dim} of {models[0].features.encoder}; extract the slide with that encoder"
        )
    bag = bag.to("cpu", torch.float32)
    with torch.no_grad():
        outputs = [one.model(bag) for one in models]
    chosen = _chosen_class(models, [output.logits for output in outputs], of_class)
    attention = np.mean([output.attention.double().numpy() for output in outputs], axis=0)
    parts = [
        output.patch_logits.double() @ target_gradient(one, output.logits.double(), chosen)
        for one, output in zip(models, outputs, strict=True)
        if output.patch_logits is not None
    ]
    contribution = np.mean([part.numpy() for part in parts], axis=0) if len(parts) == len(models) else None
    return PatchScores(
        tiles=file.tiles,
        attention=attention,
        contribution=contribution,
        influence=_mean_influence(models, bag, chosen, passes) if passes else None,
        target=target_name(models[0], chosen),
        models=tuple(folder.name for folder in folders),
        held_out=held_out,
    )


def _mean_influence(models: list[TrainedModel], bag: Bag, of_class: int, passes: int) -> Floats:
    each = [influence(one, bag, of_class, passes) for one in track(models, len(models), "influence", "models")]
    return np.asarray(np.mean(each, axis=0), dtype=np.float64)


def _choose_models(run: Path, slide_id: str, fold: int | None) -> tuple[list[Path], bool]:
    from wsi2dmamba.cohort.saved import load_splits
    from wsi2dmamba.cohort.table import load_cohort
    from wsi2dmamba.config import load_config

    folders = trained_folders(run)
    numbers = [int(folder.name.split("-")[1]) for folder in folders]
    owner = {
        slide: case.case_id
        for case in load_cohort(load_config(run / "config.yaml").cohort).cases
        for slide in case.slide_ids
    }
    case_id = owner.get(slide_id)
    folds = load_splits(run / "splits.csv")
    tested = {one.index for one in folds if case_id in one.test}
    known = case_id is not None and any(case_id in ids for one in folds for _, ids in one.parts())
    if fold is not None:
        wanted = {fold}
        if fold not in numbers:
            raise EvaluationError(
                f"{run} has no trained fold {fold}; it has {', '.join(map(str, sorted(set(numbers))))}"
            )
    else:
        wanted = tested or set(numbers)
    chosen = [folder for folder, number in zip(folders, numbers, strict=True) if number in wanted]
    return chosen or folders, wanted <= tested if known else True


def _chosen_class(models: list[TrainedModel], logits: list[Tensor], of_class: str | None) -> int:
    names = list(models[0].task.state().get("class_names", []))
    if of_class is not None:
        if models[0].task.kind != "classification" or of_class not in names:
            there = f"it has {', '.join(names)}" if names else "its task has none"
            raise EvaluationError(f"the run has no class {of_class!r} to explain; {there}")
        return names.index(of_class)
    if models[0].task.kind != "classification":
        return 0
    mean: NDArray[np.float64] = np.mean([torch.softmax(one.double(), dim=0).numpy() for one in logits], axis=0)
    return int(mean.argmax())
