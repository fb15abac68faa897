"""A trained model on samples: logits, and the rows of a predictions table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from wsi2dmamba.cohort.cases import Case
from wsi2dmamba.models.base import Aggregator
from wsi2dmamba.training.data import BagStore, Sample, samples_of
from wsi2dmamba.training.tasks.base import Columns, Task

if TYPE_CHECKING:
    import pandas as pd


@torch.no_grad()
def logits_of(model: Aggregator, samples: Sequence[Sample], store: BagStore) -> Tensor:
    """Return (B, out_dim) float32 logits on the CPU, one sample at a time, with the model in evaluation mode.

    Parameters
    ----------
    model
        On whichever device it is; its mode is restored.
    samples
        What to look at.
    store
        Where their bags are.
    """
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    try:
        rows = [model([bag.to(device) for bag in store.bags(sample)]).logits.float().cpu() for sample in samples]
    finally:
        model.train(was_training)
    return torch.stack(rows) if rows else torch.empty(0, model.out_dim)


def predict_cases(
    model: Aggregator, task: Task, cases: Sequence[Case], store: BagStore, several_slides: str = "join"
) -> Columns:
    """Return the prediction columns for cases, in their order.

    Parameters
    ----------
    model, task
        What was trained.
    cases
        Whom to predict.
    store
        Where their bags are.
    several_slides
        ``join`` pools a patient's slides; ``average`` takes the mean of the predictions of each slide.
    """
    samples = samples_of(cases, several_slides)
    columns = task.predict(logits_of(model, samples, store))
    if several_slides == "join":
        return columns
    place = {case.case_id: index for index, case in enumerate(cases)}
    owner = np.array([place[sample.case.case_id] for sample in samples], dtype=np.int64)
    counts = np.bincount(owner, minlength=len(cases))
    return {name: np.bincount(owner, weights=values, minlength=len(cases)) / counts for name, values in columns.items()}


def prediction_table(
    cases: Sequence[Case], truth: Columns, predictions: Columns, *, fold: int, seed: int, split: str
) -> pd.DataFrame:
    """Return rows of predictions.csv: case_id, fold, seed, split, what is known, what is predicted."""
    import pandas as pd

    head: dict[str, object] = {"case_id": [case.case_id for case in cases], "fold": fold, "seed": seed, "split": split}
    return pd.DataFrame({**head, **truth, **predictions})
