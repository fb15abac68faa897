"""A trained backbone in one file: weights as safetensors, and in its header how to build and feed the network.

Nothing in the file can run: the header is JSON, the rest are tensors.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from wsi2dmamba import __version__
from wsi2dmamba.core.errors import CheckpointError
from wsi2dmamba.core.files import atomic_path
from wsi2dmamba.core.validation import Settings, one_line
from wsi2dmamba.models.vision.backbone import ImageBackbone
from wsi2dmamba.models.vision.config import VisionConfig

SCHEMA = "wsi2dmamba-vision/1"
WEIGHTS = "model.safetensors"

_HEADER = "wsi2dmamba"
_PICKLES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".bin")


class InputFormat(Settings):
    """How an image becomes the network's input.

    Attributes
    ----------
    px
        Side in pixels that images are resized to.
    mpp
        Micrometres per pixel of the training images at that side; None: not known.
    mean, std
        Per channel, on a scale of 0 to 1.
    """

    px: int
    mpp: float | None = None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True)
class Checkpoint:
    """A backbone with what is needed to use it.

    Attributes
    ----------
    model
        The network.
    input
        How images are fed to it.
    class_names
        In the order of the logits; empty: the network has no head.
    details
        Further facts, as JSON values: epoch, losses.
    """

    model: ImageBackbone
    input: InputFormat
    class_names: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all.

    Parameters
    ----------
    path
        A ``.safetensors`` file.
    checkpoint
        What to write; its tensors may be on any device.
    """
    header = {
        "schema": SCHEMA,
        "created_by": f"wsi2dmamba {__version__}",
        "config": checkpoint.model.config.model_dump(mode="json"),
        "class_names": list(checkpoint.class_names),
        "input": checkpoint.input.model_dump(mode="json"),
        "details": checkpoint.details,
    }
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.model.state_dict().items()}
    with atomic_path(path) as partial:
        save_file(state, partial, metadata={_HEADER: json.dumps(header, allow_nan=False)})


def from_file(path: Path) -> Checkpoint:
    """Read a checkpoint that `save` or `wsi2dmamba train-tiles` wrote; the model is in evaluation mode, on the CPU.

    Parameters
    ----------
    path
        A file, or a folder with ``model.safetensors``.

    Raises
    ------
    CheckpointError
        If it is missing, damaged, a pickle, or no checkpoint of this project.
    """
    file = path / WEIGHTS if path.is_dir() else path
    if file.suffix.lower() in _PICKLES:
        raise CheckpointError(f"{file} is a pickle, which can run code when read; give a .safetensors file")
    if not file.is_file():
        raise CheckpointError(f"there is no image model {file}; `wsi2dmamba train-tiles` makes one")
    header, state = _read(file)
    try:
        config, names = VisionConfig.model_validate(header["config"]), tuple(header["class_names"])
        model = ImageBackbone(config, len(names))
        model.load_state_dict(state)
        images = InputFormat.model_validate(header["input"])
    except ValidationError as error:
        raise CheckpointError(f"the header of {file} is not valid: {one_line(error)}") from error
    except (KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        raise CheckpointError(f"the header of {file} does not describe its weights ({reason})") from error
    return Checkpoint(model.eval(), images, names, header.get("details", {}))


def describes_itself(file: Path) -> bool:
    """Whether a file is a checkpoint of `save`, rather than bare weights."""
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            return _HEADER in (opened.metadata() or {})
    except (SafetensorError, OSError):
        return False


def _read(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        with safe_open(file, framework="pt", device="cpu") as opened:
            text = (opened.metadata() or {}).get(_HEADER)
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dictionary)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is damaged or no safetensors file") from error
    header = json.loads(text) if text else {}
    schema = header.get("schema") if isinstance(header, dict) else None
    if schema != SCHEMA:
        found = f"has schema {schema!r}" if schema else "does not say what network its weights are of"
        raise CheckpointError(
            f"{file} {found}; this version reads {SCHEMA!r}. Bare weights load with --encoder 2dvmamba:SIZE "
            f"--weights {file}"
        )
    return header, state
