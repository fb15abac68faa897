"""Does a model use where the patches lie? Its predictions again, on slides whose patches have changed places.

Slide models can prove "spatially blind": they do as well when the arrangement of the patches is destroyed. A model
that reads the arrangement must lose by it, and falls to chance where nothing but the arrangement tells patients apart.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from wsi2dmamba.cohort.matching import Matched, match_features
from wsi2dmamba.cohort.table import load_cohort
from wsi2dmamba.config import RunConfig
from wsi2dmamba.core.errors import EvaluationError
from wsi2dmamba.core.progress import track
from wsi2dmamba.evaluation.compare import Comparison, compare
from wsi2dmamba.evaluation.config import EvalConfig
from wsi2dmamba.evaluation.predictions import read_predictions
from wsi2dmamba.evaluation.run import load_run, task_of
from wsi2dmamba.models.base import Bag
from wsi2dmamba.training.checkpoint import load_model, trained_folders
from wsi2dmamba.training.config import FeatureSource
from wsi2dmamba.training.data import BagStore
from wsi2dmamba.training.folder import inputs_digest
from wsi2dmamba.training.inference import predict_cases, prediction_table

SHUFFLES = 5
NAMES = ("patches where they lie", "patches shuffled")


class ShuffledBags(BagStore):
    """Bags whose patches have changed places among themselves: same patches, same outline, no arrangement.

    The features move and the cells stay, so that models which read the patches as a sequence lose their order too.

    Parameters
    ----------
    paths, source
        As of `BagStore`.
    seed
        Of the places; each slide has its own, the same whatever else is read.
    """

    def __init__(self, paths: dict[str, Path], source: FeatureSource, seed: int = 0) -> None:
        super().__init__(paths, source)
        self.seed = seed

    def bag(self, slide_id: str) -> Bag:
        """Return the bag of a slide, its patches shuffled."""
        bag = super().bag(slide_id)
        rng = np.random.default_rng([self.seed, zlib.crc32(slide_id.encode())])
        return replace(bag, features=bag.features[torch.from_numpy(rng.permutation(len(bag)))])


def compare_with_shuffled(run: Path, config: EvalConfig | None = None, shuffles: int = SHUFFLES) -> Comparison:
    """Compare a run's test predictions with those on shuffled patches, by the same models.

    Parameters
    ----------
    run
        A finished run folder, with its models and features still there.
    config
        Settings instead of the run's own; `seed` also seeds the shuffles.
    shuffles
        How often every slide is shuffled; the metrics are averaged over them.

    Returns
    -------
    Comparison
        A: the predictions of the run. B: those on shuffled patches. Thresholds stay those of the run.

    Raises
    ------
    EvaluationError
        If the run is not finished, or its table or features have changed since.
    """
    settings = load_run(run)
    config = config or settings.eval
    own = pd.read_csv(run / "predictions.csv", dtype=str, keep_default_na=False)
    moved = _predict_shuffled(run, settings, own, config.seed, shuffles)
    rest = _once_per_shuffle(own[own["split"] != "test"], shuffles)
    there = _once_per_shuffle(own, shuffles)
    task = task_of(settings)
    a, b = (read_predictions(table, task=task) for table in (there, pd.concat([rest, moved], ignore_index=True)))
    return compare(a, b, config)


def _once_per_shuffle(table: pd.DataFrame, shuffles: int) -> pd.DataFrame:
    # To the judge every shuffle is one more seed: values are averaged over them, intervals draw patients.
    seeds = table["seed"].astype(int) * shuffles
    return pd.concat([table.assign(seed=seeds + index) for index in range(shuffles)], ignore_index=True)


def _predict_shuffled(run: Path, settings: RunConfig, own: pd.DataFrame, seed: int, shuffles: int) -> pd.DataFrame:
    matched = _as_trained(run, settings)
    cases = matched.cohort.by_id()
    store = ShuffledBags(matched.paths, settings.features)
    folders = trained_folders(run)
    tables = []
    for folder in track(folders, len(folders), "shuffle", "models"):
        trained = load_model(folder)
        here = (own["split"] == "test") & (own["fold"] == str(trained.fold)) & (own["seed"] == str(trained.seed))
        tested = [cases[case_id] for case_id in own.loc[here, "case_id"]]
        for index in range(shuffles):
            store.seed = seed * shuffles + index
            predicted = predict_cases(trained.model, trained.task, tested, store, trained.several_slides)
            number = trained.seed * shuffles + index
            truth = trained.task.truth(tested)
            tables.append(prediction_table(tested, truth, predicted, fold=trained.fold, seed=number, split="test"))
    return pd.concat(tables, ignore_index=True).astype(str)


def _as_trained(run: Path, settings: RunConfig) -> Matched:
    matched = match_features(load_cohort(settings.cohort), settings.features.dir)
    state = run / "inputs.json"
    digest = json.loads(state.read_text(encoding="utf-8")).get("digest") if state.is_file() else None
    if digest != inputs_digest(matched):
        raise EvaluationError(
            f"the cohort table or the features of {run} have changed since its training, so its predictions cannot "
            "be repeated with shuffled patches; train the run again"
        )
    return matched
