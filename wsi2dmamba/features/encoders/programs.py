"""`torchscript:FILE` and `export:FILE`: networks that were compiled to a program and need none of their source.

What is loaded. A TorchScript file holds tensors and code for torch's own interpreter; `torch.jit.load` reads both
without Python's pickle. An export file (`.pt2`) holds a graph as JSON and raw tensors, but the format also allows
pickled objects and compiled machine code, which torch would load and run; such a file is refused here before torch
sees it. Either program can still compute anything torch can: load files that you trust.
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from wsi2dmamba.core.errors import EncoderError
from wsi2dmamba.core.validation import Settings, one_line
from wsi2dmamba.features.encoders.base import IMAGENET_MEAN, IMAGENET_STD, Encoder, EncoderInfo, Normalisation
from wsi2dmamba.features.encoders.fingerprint import file_revision
from wsi2dmamba.features.encoders.names import folder_name
from wsi2dmamba.features.encoders.options import EncoderRequest

# What a `.pt2` may hold: the graph, raw tensors and their descriptions, and torch's own bookkeeping.
_HARMLESS_MEMBER = re.compile(
    r"(models/[^/]+\.json|data/weights/(weight_\d+|[^/]+_weights_config\.json)"
    r"|data/constants/((tensor|constant)_\d+|[^/]+_constants_config\.json)"
    r"|archive_format|archive_version|byteorder|version|\.data/[^/]+|extra/.*|serialized_exported_program\.json)"
)
_TENSOR_PICKLE = re.compile(r"(data/sample_inputs/[^/]+\.pt|serialized_(state_dict|constants|example_inputs)\.pt)")


class ProgramSettings(Settings):
    """The optional ``<file>.json`` beside a program: how it wants its input.

    Attributes
    ----------
    name
        Folder name of its features; the file's stem when absent.
    mpp, patch_px
        Expected resolution (µm per pixel) and patch side in pixels.
    mean, std
        Per channel, on a scale of 0 to 1. ImageNet's when absent.
    """

    name: str | None = None
    mpp: float | None = None
    patch_px: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


class ProgramEncoder(Encoder):
    """A TorchScript or exported program that maps (N, 3, px, px) floats to (N, dim) features."""

    def __init__(self, program: torch.nn.Module, info: EncoderInfo, normalisation: Normalisation) -> None:
        super().__init__()
        self.program = program
        self.normalisation = normalisation
        self.info = replace(info, dim=_measured_dim(program, normalisation.patch_px, info.name))

    def train(self, mode: bool = True) -> ProgramEncoder:
        """Do nothing: a program was frozen in evaluation mode when it was saved, and exported ones refuse the call."""
        return self

    def preprocess(self, patches: Tensor) -> Tensor:
        """Resize and normalise (N, H, W, 3) uint8 patches as the file's settings say."""
        return self.normalisation(patches)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (N, dim) features of (N, 3, px, px) normalised patches."""
        return _one_vector(self.program(inputs), self.info.name)


def load_torchscript(file: Path, request: EncoderRequest) -> ProgramEncoder:
    """Load a file that `torch.jit.save` wrote.

    Raises
    ------
    EncoderError
        If the file is missing, is no TorchScript, or does not map patches to vectors.
    """
    _must_exist(file)
    try:
        program = torch.jit.load(file, map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        raise EncoderError(f"{file} is not a TorchScript file (made with torch.jit.save)") from error
    return _with_settings(program, file, request)


def load_exported(file: Path, request: EncoderRequest) -> ProgramEncoder:
    """Load a file that `torch.export.save` wrote, after making sure that nothing in it is pickled code.

    Raises
    ------
    EncoderError
        If the file is missing, holds pickled objects or compiled code, or does not take batches of any size.
    """
    _must_exist(file)
    refuse_hidden_code(file)
    try:
        program = torch.export.load(file).module()
    except Exception as error:  # torch.export raises whatever its JSON reader stumbles on
        raise EncoderError(f"{file} cannot be loaded by this torch ({torch.__version__}): {error}") from error
    return _with_settings(program, file, request)


def refuse_hidden_code(file: Path) -> None:
    """Raise unless a `.pt2` file holds nothing but a graph, tensors and their descriptions.

    Raises
    ------
    EncoderError
        If it is no archive, or has a member that torch would unpickle or run.
    """
    if not zipfile.is_zipfile(file):
        raise EncoderError(f"{file} is not an export file (made with torch.export.save)")
    with zipfile.ZipFile(file) as archive:
        for entry in archive.namelist():
            member = entry.partition("/")[2] if not _is_known(entry) else entry
            if not _is_known(member):
                raise EncoderError(
                    f"{file} holds {entry!r}, which torch would unpickle or run; export it again as plain"
                )
            if _TENSOR_PICKLE.fullmatch(member):
                _must_be_tensors(archive.read(entry), file, entry)
            elif member.endswith("_config.json") and _mentions_pickle(archive.read(entry)):
                raise EncoderError(
                    f"{file}: {entry} points to pickled objects; export the network again as plain tensors"
                )


def _is_known(member: str) -> bool:
    return bool(_HARMLESS_MEMBER.fullmatch(member) or _TENSOR_PICKLE.fullmatch(member))


def _must_be_tensors(content: bytes, file: Path, entry: str) -> None:
    if not content:
        return
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except Exception as error:  # any failure means: more than tensors
        raise EncoderError(f"{file}: {entry} holds more than tensors and is not loaded") from error


def _mentions_pickle(content: bytes) -> bool:
    entries = json.loads(content).get("config", {}).values()
    return any(entry.get("use_pickle", True) for entry in entries)


def _must_exist(file: Path) -> None:
    if not file.is_file():
        raise EncoderError(f"the encoder file {file} does not exist")


def _with_settings(program: torch.nn.Module, file: Path, request: EncoderRequest) -> ProgramEncoder:
    settings = _read_settings(file)
    side = request.patch_px or settings.patch_px
    info = EncoderInfo(
        name=settings.name or folder_name(file.name),
        dim=0,
        mpp=request.mpp or settings.mpp,
        patch_px=side,
        revision=file_revision(file),
    )
    return ProgramEncoder(program, info, Normalisation(side, settings.mean, settings.std))


def _read_settings(file: Path) -> ProgramSettings:
    beside = file.with_name(f"{file.name}.json")
    if not beside.is_file():
        return ProgramSettings()
    try:
        return ProgramSettings(**json.loads(beside.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise EncoderError(f"{beside}: {one_line(error)}") from error
    except (ValueError, TypeError) as error:
        raise EncoderError(f"{beside} is not a JSON object: {error}") from error


def _measured_dim(program: torch.nn.Module, side: int, name: str) -> int:
    dims = []
    for batch in (1, 3):
        try:
            with torch.inference_mode():
                dims.append(_one_vector(program(torch.zeros(batch, 3, side, side)), name).shape)
        except EncoderError:
            raise
        except Exception as error:  # a program can fail in any way; the user needs one line
            reason = " ".join(str(error).split())[:160]
            raise EncoderError(
                f"encoder {name} fails on {batch} patches of {side} px ({reason}); "
                "it must take float (N, 3, px, px) with any N: export it with a dynamic batch, or set --encoder-px"
            ) from error
    if dims[0][1:] != dims[1][1:] or dims[1][0] != 3 or math.prod(dims[0]) == 0:
        raise EncoderError(f"encoder {name} does not return one vector per patch")
    return int(dims[0][1])


def _one_vector(output: Tensor, name: str) -> Tensor:
    if not isinstance(output, Tensor):
        raise EncoderError(f"encoder {name} returns {type(output).__name__}, not a tensor of (N, dim)")
    if output.ndim == 4:
        output = output.mean((2, 3)) if output.shape[2] > 1 or output.shape[3] > 1 else output.flatten(1)
    if output.ndim != 2:
        raise EncoderError(f"encoder {name} returns shape {tuple(output.shape)}, not (N, dim); pool inside the program")
    return output
