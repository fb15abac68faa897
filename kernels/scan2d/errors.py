"""What can go wrong, by name.

Wrong arguments are `InvalidArgumentError` (a `ValueError`); a backend that exists but cannot run
here is `BackendUnavailableError` (a `RuntimeError`). Both are `Scan2DError`.
"""


class Scan2DError(Exception):
    """Base of every error this package raises on purpose."""


class InvalidArgumentError(Scan2DError, ValueError):
    """An argument has the wrong shape, dtype, device or value; the message says which and what fits."""


class BackendUnavailableError(Scan2DError, RuntimeError):
    """The backend asked for cannot run here; the message says what is missing and what to install."""
