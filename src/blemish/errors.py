"""The errors a user can cause, each one clear line that names the thing and the remedy."""

from __future__ import annotations


class BlemishError(Exception):
    """Base of every error that a user can cause or mend; the command line prints it as one line, without a traceback."""


class InputError(BlemishError, ValueError):
    """The images, or an argument, cannot be used as given."""


class ConfigError(BlemishError, ValueError):
    """A setting is unknown, has the wrong type or lies outside its range."""


class OutputError(BlemishError, OSError):
    """The output folder cannot be used: it is not ours, not writable, or full."""


class WeightsError(BlemishError, RuntimeError):
    """The weights of a backbone are missing, truncated or altered."""


class MissingDependencyError(BlemishError, ImportError):
    """An optional package is needed for what was asked."""
