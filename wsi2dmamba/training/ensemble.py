"""All trained models of a run together, on other slides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wsi2dmamba.cohort.cases import Case
from wsi2dmamba.core.errors import CheckpointError, StoreError
from wsi2dmamba.training.checkpoint import TrainedModel, load_model, trained_folders
from wsi2dmamba.training.data import BagStore
from wsi2dmamba.training.inference import predict_cases
from wsi2dmamba.training.preflight import FeatureDescription
from wsi2dmamba.training.tasks.base import Columns


class Ensemble:
    """The models of a run's folds and seeds; predictions are their mean.

    Parameters
    ----------
    models
        At least one, all of one run.

    Attributes
    ----------
    features
        Which features they were trained on.
    """

    def __init__(self, models: Sequence[TrainedModel]) -> None:
        self.models = list(models)
        self.features = self.models[0].features
        if any(model.features != self.features or model.task.kind != self.models[0].task.kind for model in self.models):
            raise CheckpointError("the folds of this run were trained on different features or tasks; train it again")

    @classmethod
    def of_run(cls, run: Path) -> Ensemble:
        """Load every trained fold of a run folder, or the one fold whose folder is given.

        Raises
        ------
        CheckpointError
            If there is none, or one cannot be read.
        """
        single = (run / "model.json").is_file() or not run.is_dir()
        return cls([load_model(folder) for folder in ([run] if single else trained_folders(run))])

    def check(self, features: FeatureDescription, where: Path) -> None:
        """Refuse features of another encoder or resolution than the models were trained on.

        Raises
        ------
        StoreError
            Naming what differs.
        """
        if difference := features.difference(self.features):
            raise StoreError(f"{where} does not fit this run: {difference}; extract features as for its training")

    def predict(self, cases: Sequence[Case], store: BagStore) -> Columns:
        """Return the mean of the models' prediction columns for each case, (B,) each."""
        each = [predict_cases(one.model, one.task, cases, store, one.several_slides) for one in self.models]
        return {name: np.mean([columns[name] for columns in each], axis=0) for name in each[0]}
