"""Errors that a user can cause. Each message is one line that names the cause and the remedy."""

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


def shown(path: object) -> str:
    r"""Path, address or other text as one printable line, for messages and log lines.

    Newlines and other control characters are escaped, and so are bytes that are not valid UTF-8.

    >>> shown("a\nb.png")
    'a\\nb.png'
    """
    text = str(path).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
