"""`module:function`: an encoder that the user wrote."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path

from torch import nn

from wsi2dmamba.core.errors import EncoderError
from wsi2dmamba.features.encoders.base import Encoder, EncoderInfo, Normalisation
from wsi2dmamba.features.encoders.options import EncoderRequest
from wsi2dmamba.features.encoders.programs import ProgramEncoder


def load_custom(spec: str, request: EncoderRequest) -> Encoder:
    """Import ``module:function`` and call the function without arguments.

    It returns an `Encoder`, or a `torch.nn.Module` that maps (N, 3, px, px) ImageNet-normalised floats to (N, dim).
    The module is looked for where Python looks and in the current folder.

    Raises
    ------
    EncoderError
        If there is no such module or function, or it returns something else.
    """
    module_name, _, function_name = spec.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except ImportError as error:
        raise EncoderError(f"encoder {spec}: {error}; give module:function, importable from here") from error
    except AttributeError as error:
        raise EncoderError(f"encoder {spec}: the module {module_name} has no {function_name}") from error
    made = function()
    if isinstance(made, Encoder):
        if not isinstance(getattr(made, "info", None), EncoderInfo):
            raise EncoderError(f"encoder {spec}: the object has no `info` (EncoderInfo)")
        made.info = replace(made.info, mpp=request.mpp or made.info.mpp)
        return made.eval()
    if isinstance(made, nn.Module):
        side = request.patch_px or 224
        info = EncoderInfo(name=function_name, dim=0, mpp=request.mpp, patch_px=side, revision=spec)
        return ProgramEncoder(made.eval(), info, Normalisation(side))
    raise EncoderError(f"encoder {spec} returned {type(made).__name__}, neither an Encoder nor a torch.nn.Module")
