"""Micrometres per pixel: believed only when a microscope could have made it, never guessed."""

from __future__ import annotations

from pathlib import Path

from wsi2dmamba.core.errors import MissingResolutionError, SlideError

# Finer than any objective resolves, and coarser than any slide scanner delivers: such values are a file format's
# default (72 dots per inch is 353 µm/px), not a measurement.
_PLAUSIBLE_MPP = (0.02, 25.0)

# Patches may be this much finer than level 0 before it is called upsampling: 0.499 asked at 0.49 is no crime.
_FINER_TOLERANCE = 0.05


def plausible_mpp(value: float | None) -> bool:
    """Tell whether a microscope could have this many micrometres per pixel."""
    return value is not None and _PLAUSIBLE_MPP[0] <= value <= _PLAUSIBLE_MPP[1]


def require_mpp(path: Path, found: float | None, given: float | None) -> float:
    """Return the slide's µm per level-0 pixel: what the user gave, else what the slide says.

    Raises
    ------
    MissingResolutionError
        If neither says anything that can be true.
    """
    if given is not None:
        return given
    if found is None:
        raise MissingResolutionError(f"{path} does not say its µm per pixel; give --slide-mpp, e.g. --slide-mpp 0.25")
    if not plausible_mpp(found):
        raise MissingResolutionError(
            f"{path} says {found:.4g} µm per pixel, which no slide scanner delivers; give the true one with --slide-mpp"
        )
    return found


def check_target(path: Path, slide_mpp: float, mpp: float, allow_upsampling: bool) -> None:
    """Refuse patches that are finer than the slide.

    Raises
    ------
    SlideError
        If `mpp` is well below the slide's own and upsampling was not asked for.
    """
    if mpp < slide_mpp * (1 - _FINER_TOLERANCE) and not allow_upsampling:
        raise SlideError(
            f"{path} has {slide_mpp:.4g} µm per pixel, coarser than the {mpp:g} asked for; "
            "ask for a larger --mpp, or give --allow-upsampling"
        )
