"""The one number of a slide that a heatmap explains: a log-odds, a grade, a risk, a predicted value."""

from __future__ import annotations

import torch
from torch import Tensor

from wsi2dmamba.training.checkpoint import TrainedModel


def target_value(trained: TrainedModel, logits: Tensor, of_class: int) -> Tensor:
    """Return the number (a scalar, differentiable in `logits`) that patches are said to raise or lower.

    Parameters
    ----------
    trained
        The model; its task decides the target.
    logits
        (out_dim,) the slide's logits.
    of_class
        Number of the class (classification only).
    """
    kind = trained.task.kind
    if kind == "classification":
        others = torch.cat([logits[:of_class], logits[of_class + 1 :]])
        return logits[of_class] - torch.logsumexp(others, dim=0)
    if kind == "ordinal":
        return torch.cumprod(torch.sigmoid(logits), dim=0).sum()  # the expected grade
    if kind == "survival":
        return -torch.cumprod(torch.sigmoid(-logits), dim=0).sum()  # the risk that is reported
    return logits[0]


def target_gradient(trained: TrainedModel, logits: Tensor, of_class: int) -> Tensor:
    """Return (out_dim,) the gradient of `target_value` at `logits`.

    The head is linear, so the logits are sums over patches; the target is a curved function of them, and a patch's
    share of it is, to first order, its own logits times this gradient.
    """
    point = logits.detach().clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(target_value(trained, point, of_class), point)
    return gradient


def target_name(trained: TrainedModel, of_class: int) -> str:
    """Return what `target_value` is, in words."""
    if trained.task.kind == "classification":
        return f"log-odds of {trained.task.state()['class_names'][of_class]}"
    return {"ordinal": "expected grade", "regression": "predicted value"}.get(trained.task.kind, "risk")
