"""Every error a user can cause, in one place.

Each message is one line: what is wrong, where, and what to do about it. The command line prints it without a
traceback and leaves with `exit_code`.
"""

from __future__ import annotations


class WSI2DMambaError(Exception):
    """Base of all errors that are shown to the user as one line."""

    exit_code = 2


class InputError(WSI2DMambaError):
    """An argument, path or option that cannot be used."""


class ConfigError(WSI2DMambaError):
    """A YAML configuration that is malformed, incomplete or has an unknown key."""


class SlideError(WSI2DMambaError):
    """A slide that cannot be opened or read."""


class MissingResolutionError(SlideError):
    """A slide that does not say its micrometres per pixel."""


class StoreError(WSI2DMambaError):
    """A tile or feature file that is unreadable, incomplete or not what it claims to be."""


class LatticeError(StoreError):
    """Coordinates that do not lie on one lattice, or that share a cell of it."""


class EncoderError(WSI2DMambaError):
    """A patch encoder that is unknown, unavailable, or returns something unexpected."""


class CohortError(WSI2DMambaError):
    """A cohort table or split that cannot be used."""


class ModelError(WSI2DMambaError):
    """An aggregator that is unknown or wrongly configured."""


class TrainingError(WSI2DMambaError):
    """A training run that cannot start or go on."""


class CheckpointError(WSI2DMambaError):
    """A checkpoint that is missing, of another schema, or tampered with."""


class EvaluationError(WSI2DMambaError):
    """Predictions that cannot be judged."""


class DependencyError(WSI2DMambaError):
    """An optional package that is needed and not installed."""
