"""Load the parameters of the published 2DMamba module, under their published names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from wsi2dmamba.core.errors import ModelError
from wsi2dmamba.models.two_d_mamba import TwoDMamba

_RENAMED = (
    (r"^_fc1\.0\.", "project.0."),
    (r"^layers\.pad_token$", "background"),
    (r"^layers\.layers\.(\d+)\.mixer\.conv1d\.", r"blocks.\1.mixer.conv."),
    (r"^layers\.layers\.(\d+)\.mixer\.(A_log|D|x_proj|dt_proj)\b", r"blocks.\1.mixer.selective.0.\2"),
    (r"^layers\.layers\.(\d+)\.", r"blocks.\1."),
    (r"^attention\.0\.", "head.attention.value."),
    (r"^attention\.2\.", "head.attention.score."),
    (r"^classifier\.", "head.classifier."),
)


def parameter_name(published: str) -> str:
    """Return this project's name of a published parameter, e.g. ``_fc1.0.weight`` → ``project.0.weight``."""
    for pattern, here in _RENAMED:
        name, found = re.subn(pattern, here, published)
        if found:
            return name
    return published


def load_published_state(
    state: Mapping[str, Any],
    grid_shape: tuple[int, int] | None = None,
    background: Literal["learned", "zero"] = "learned",
    dropout: float = 0.25,
) -> TwoDMamba:
    """Build the published 2DMamba from its parameters; it computes the same outputs and gradients.

    Sizes are read from the parameters, everything else is `preset: paper`. The published survival model's hazards
    are the sigmoid of the logits.

    Parameters
    ----------
    state
        Published parameter names (``_fc1.0.weight``, ``layers.layers.0.mixer.A_log``, …) to tensors or arrays, as
        ``torch.load(path, weights_only=True)`` returns them.
    grid_shape
        (rows, cols) that every slide was padded to; None: each slide's own bounding box.
    background
        The published ``pad_token`` option: "learned" (there: "trainable") or "zero".
    dropout
        Dropout after the projection, for further training.

    Returns
    -------
    TwoDMamba
        In the dtype of the parameters, in evaluation mode.

    Raises
    ------
    ModelError
        If parameters are missing, unexpected or of the wrong shape.
    """
    tensors = {
        parameter_name(k): torch.as_tensor(np.asarray(v) if not isinstance(v, Tensor) else v) for k, v in state.items()
    }
    if background == "zero":
        tensors.pop("background", None)
    try:
        width, in_dim = tensors["project.0.weight"].shape
        inner, states = tensors["blocks.0.mixer.selective.0.A_log"].shape
        options = TwoDMamba.Options(
            preset="paper",
            dim=width,
            expand=inner // width,
            state=states,
            dt_rank=tensors["blocks.0.mixer.selective.0.dt_proj.weight"].shape[1],
            conv_kernel=tensors["blocks.0.mixer.conv.weight"].shape[-1],
            layers=len({name.split(".")[1] for name in tensors if name.startswith("blocks.")}),
            attention_dim=len(tensors["head.attention.value.bias"]),
            background=background,
            grid_shape=grid_shape,
            dropout=dropout,
        )
        model = TwoDMamba(in_dim, len(tensors["head.classifier.bias"]), options)
        model.to(tensors["project.0.weight"].dtype).load_state_dict(tensors)
    except (KeyError, ValueError, RuntimeError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise ModelError(f"not the parameters of a published 2DMamba module: {what}") from error
    return model.eval()
