"""Settings as text: TOML and YAML files of limited size, and single values."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from blemish.errors import ConfigError, shown

MAX_BYTES = 64_000
"""Largest settings file. A file with every setting has about 4000 bytes."""

MAX_LINE = 5000
"""Longest line, in characters, that is read as TOML. Dotted keys take quadratic time and memory."""

MAX_DEPTH = 16
"""Deepest nesting of tables and lists in a YAML file. Settings need three levels."""


def read_values(path: Path) -> Mapping[str, Any]:
    """The values in a settings file: ``.toml`` is TOML; ``.yaml`` and ``.yml`` are YAML with plain values only.

    Raises:
        ConfigError: one line that names the file. The file cannot be read, is no regular file, is too large, is not UTF-8,
            is not valid, or contains a list or a single value in place of named settings.
    """
    suffix, name = path.suffix.lower(), shown(path)
    if suffix not in (".toml", ".yaml", ".yml"):
        raise ConfigError(f"{name}: settings files end in .toml, .yaml or .yml")
    text = _read_text(path, name)
    values = _toml(text, name) if suffix == ".toml" else _yaml(text, name)
    if not isinstance(values, Mapping):
        raise ConfigError(f"{name}: contains no named settings; write lines such as 'seed: 1'")
    return values


def parse_value(text: str) -> Any:
    """A value as TOML would read it. Text that TOML cannot read is kept as text.

    >>> parse_value("0.5"), parse_value("true"), parse_value("[4, 8]"), parse_value("stretch")
    (0.5, True, [4, 8], 'stretch')
    """
    if len(text) > MAX_LINE:
        return text.strip()
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):  # ValueError: also an integer of more digits than Python converts
        return text.strip()
    return parsed["value"] if len(parsed) == 1 else text.strip()


def _read_text(path: Path, name: str) -> str:
    try:
        with open(path, "rb", opener=_open_without_waiting) as file:
            return _read_regular(file, name).decode("utf-8-sig")
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: is not UTF-8 text; save it as UTF-8") from error
    except ValueError as error:  # a path with a null character
        raise ConfigError(f"{name}: is not a valid path ({error})") from error


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # otherwise a named pipe waits for its writer


def _read_regular(file: IO[bytes], name: str) -> bytes:
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        raise ConfigError(f"{name}: is not a regular file; copy the settings to a file")
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ConfigError(
            f"{name}: is larger than {MAX_BYTES // 1000} kB, so it is not a settings file; check the path"
        )
    return data


def _toml(text: str, name: str) -> Any:
    if max(map(len, text.split("\n"))) > MAX_LINE:
        raise ConfigError(f"{name}: has a line of more than {MAX_LINE} characters; check the file")
    try:
        return tomllib.loads(text)
    except ValueError as error:
        raise ConfigError(f"{name}: is not valid TOML: {_reason(error)}") from error
    except RecursionError as error:
        raise ConfigError(f"{name}: is nested too deeply; settings need three levels") from error


def _yaml(text: str, name: str) -> Any:
    import yaml

    from blemish.config._yaml import load_plain

    try:
        return load_plain(text, MAX_DEPTH) or {}
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # ValueError: a date that no calendar has
        raise ConfigError(f"{name}: is not valid YAML: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The parser's message on one line. Python's own message about long integers is advice to programmers."""
    text = " ".join(str(error).split())
    return "an integer has too many digits" if text.startswith("Exceeds the limit") else text
