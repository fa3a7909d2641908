"""Where settings come from (flag, environment, file, default), and one clear line when one of them is wrong."""

from __future__ import annotations

import difflib
import json
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from pydantic import ValidationError

from blemish.config.fields import Section
from blemish.config.files import parse_value, read_values
from blemish.config.renamed import RENAMED, RENAMED_VALUES
from blemish.errors import ConfigError, shown

SHORT_NAMES: dict[str, str] = {
    "size": "image.size",
    "roi": "image.roi",
    "backbone": "backbone.name",
    "maps": "output.maps",
    "report": "output.report_mode",
    "preset": "preset",
    "seed": "seed",
    "device": "device",
    "n_clusters": "n_clusters",
    "group_by": "cluster.group_by",
    "false_alarms": "localization.false_alarms",
    "smallest_defect": "localization.smallest_defect",
    "rejects": "localization.rejects",
    "cache": "cache.enabled",
    "cache_dir": "cache.folder",
}
"""Settings that have their own flag and an environment variable BLEMISH_<NAME>."""

PREFIX = "BLEMISH_"

SIMILARITY_CUTOFF = 0.75
"""An unknown BLEMISH_ variable this similar to a setting is reported as a misspelling; others belong to other programs."""

LONGEST_VALUE = 120
"""Characters of a value that an error message repeats at most."""

C = TypeVar("C", bound=Section)


class Source(NamedTuple):
    """Values, nested or with dotted keys, and where the user finds them."""

    origin: str
    values: Mapping[str, Any]


def gather(
    model: type[C],
    flags: Mapping[str, Any],
    assignments: Sequence[str],
    file: Path | None,
    environ: Mapping[str, str],
) -> C:
    """Settings of a command line.

    Args:
        model: class of the settings.
        flags: :data:`SHORT_NAMES` -> value; None = not given.
        assignments: ``section.key=value`` texts; they take precedence over the flags.
        file: settings file; default: the one that ``BLEMISH_CONFIG`` names, if any.
        environ: environment; only names that begin with ``BLEMISH_`` are considered.

    Raises:
        ConfigError: unknown key, invalid value, unreadable file, or an assignment without ``=``.
    """
    if file is None and environ.get(f"{PREFIX}CONFIG"):
        file = Path(environ[f"{PREFIX}CONFIG"])
    sources = [] if file is None else [read_file(file)]
    sources += from_environment(model, environ)
    sources += [
        Source(f"--{n.replace('_', '-')}", {SHORT_NAMES[n]: value}) for n, value in flags.items() if value is not None
    ]
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {_short(text)}: write it as section.key=value, for example --set image.size=320")
        sources.append(Source(f"--set {_short(text)}", {key.strip(): parse_value(value)}))
    return merge(model, sources)


def from_environment(model: type[Section], environ: Mapping[str, str]) -> list[Source]:
    """``BLEMISH_SIZE`` and the like, and any setting as ``BLEMISH_SECTION__KEY``; empty values count as not given.

    Raises:
        ConfigError: a name that is almost, but not exactly, the name of a setting.
    """
    sources = []
    for name in sorted(set(environ) - {f"{PREFIX}CONFIG"}):
        if not name.startswith(PREFIX) or not environ[name].strip():
            continue
        short = name[len(PREFIX) :].lower()
        key = SHORT_NAMES.get(short) or (short.replace("__", ".") if "__" in short else None)
        if key is not None:
            sources.append(Source(_short(name), {key: parse_value(environ[name])}))
            continue
        if short in RENAMED:
            raise ConfigError(f"{_short(name)}: is now called {PREFIX}{RENAMED[short].replace('.', '__').upper()}")
        names = [*SHORT_NAMES, *(known.replace(".", "__") for known in known_keys(model) if "." in known)]
        for near in difflib.get_close_matches(short, names, n=1, cutoff=SIMILARITY_CUTOFF):
            raise ConfigError(f"{_short(name)}: no such setting; did you mean '{PREFIX}{near.upper()}'?")
    return sources


def read_file(path: Path) -> Source:
    """A settings file as a source; see :func:`blemish.config.files.read_values`."""
    return Source(shown(path), read_values(path))


def merge(model: type[C], sources: Sequence[Source]) -> C:
    """Settings from several sources; later sources take precedence.

    Raises:
        ConfigError: one line that names the source, the key and, for an unknown key, the most similar known one.
    """
    known = known_keys(model)
    values: dict[str, Any] = {}
    origins: dict[str, Source] = {}
    for source in sources:
        if not isinstance(source.values, Mapping):
            raise ConfigError(f"{source.origin}: give settings by name, not {type(source.values).__name__}")
        for key, value in _flat(source, known):
            if key not in known:
                raise ConfigError(f"{source.origin}: {_unknown(key, known)}")
            if origins.get(key) is source:
                raise ConfigError(f"{source.origin}: '{key}' is given twice; remove one of the two")
            origins[key] = source
            *path, name = key.split(".")
            nested(values, path)[name] = value
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_first_problem(error, origins, known)) from None


def nested(values: dict[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """The table below ``values`` at that path; tables that are missing are made.

    >>> nested({"a": {"b": {"c": 1}}}, ["a", "b"])
    {'c': 1}
    """
    for name in path:
        values = values.setdefault(name, {})
    return values


def known_keys(model: type[Section]) -> dict[str, str]:
    """Every setting's dotted name, in order, with its description."""
    keys: dict[str, str] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            keys |= {f"{name}.{key}": text for key, text in known_keys(field.annotation).items()}
        else:
            keys[name] = field.description or ""
    return keys


def to_toml(settings: Section) -> str:
    """All settings as TOML."""
    return "\n".join(_table(settings.model_dump(mode="json"), "")) + "\n"


def _table(values: Mapping[str, Any], name: str) -> list[str]:
    """Lines of one TOML table and of the tables in it."""
    lines = ["", f"[{name}]"] if name else []
    lines += [f"{key} = {_toml_value(value)}" for key, value in values.items() if not isinstance(value, dict)]
    for key, value in values.items():
        if isinstance(value, dict):
            lines += _table(value, f"{name}.{key}" if name else key)
    return lines


def _toml_value(value: Any) -> str:
    # JSON's strings, numbers, booleans and flat lists are valid TOML, except for the escape of one control character
    return json.dumps("none" if value is None else value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _flat(source: Source, known: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values. A plain value in place of a section is an error."""
    sections = {key[:at] for key in known for at in range(len(key)) if key[at] == "."}
    former = {key.partition(".")[0] for key in RENAMED if "." in key}

    def walk(name: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, Section):
            value = {key: getattr(value, key) for key in type(value).model_fields}
        if name in known or not (name in sections or (name in former and isinstance(value, Mapping))):
            yield name, value
        elif isinstance(value, Mapping):
            for key, one in value.items():
                yield from walk(f"{name}.{key}", one)
        else:
            first = next(key for key in known if key.startswith(f"{name}."))
            raise ConfigError(f"{source.origin}: '{name}' is a section; set its keys, for example {first}")

    for name, value in source.values.items():
        yield from walk(str(name), value)


def _unknown(key: str, known: Mapping[str, str]) -> str:
    if key in RENAMED:
        return f"'{key}' is now called '{RENAMED[key]}'"
    name = key.rpartition(".")[2]
    # the right name in the wrong section is more likely than a misspelled section
    same_name = [k for k in known if k.rpartition(".")[2] == name]
    near = difflib.get_close_matches(key, same_name or list(known), n=1, cutoff=0.0 if same_name else 0.5)
    if not near:
        leaves = {k.rpartition(".")[2]: k for k in known}
        near = [leaves[leaf] for leaf in difflib.get_close_matches(name, leaves, n=1, cutoff=0.5)]
    remedy = f"did you mean '{near[0]}'?" if near else "'blemish config' lists all settings"
    return f"unknown setting '{_short(key)}'; {remedy}"


def _first_problem(error: ValidationError, origins: Mapping[str, Source], known: Mapping[str, str]) -> str:
    problems = error.errors(include_url=False)
    located = [(_key(problem["loc"], known), problem) for problem in problems]
    key = located[0][0]
    # a union reports once per member; the alternatives belong in one line
    reasons = list(dict.fromkeys(_reason(problem["msg"]) for k, problem in located if k == key))
    if not key:
        return " or ".join(reasons)  # about several settings at once
    value = next((p["input"] for k, p in located if k == key), None)
    origin = f"{origins[key].origin}: " if key in origins else ""
    text = _values.repr(value)
    stated = key if len(text) > LONGEST_VALUE else f"{key} = {text}"
    present = RENAMED_VALUES.get(key, {}).get(value) if isinstance(value, str) else None
    hint = f"; '{value}' is now called '{present}'" if present else ""
    return f"{origin}{stated}: {' or '.join(reasons)}{hint}"


def _key(loc: tuple[int | str, ...], known: Mapping[str, str]) -> str:
    """The setting that a problem is about: the longest beginning of its location that is one."""
    parts = [str(part) for part in loc]
    prefixes = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in known), ".".join(parts))


def _reason(message: str) -> str:
    text = message.removeprefix("Value error, ").replace("Input should be", "must be")
    return text[:1].lower() + text[1:]


def _short(text: str) -> str:
    """The text on one printable line, cut if it is long."""
    return shown(text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}...")


class _Values(reprlib.Repr):
    """Values as Python writes them; the inside of long and nested values is left out."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = 2 * LONGEST_VALUE

    def repr_int(self, value: int, level: int) -> str:
        # Python refuses to convert thousands of digits, and nobody reads hundreds
        return repr(value) if value.bit_length() < 300 else "an integer of very many digits"


_values = _Values()
