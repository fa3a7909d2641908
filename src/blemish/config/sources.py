"""Where settings come from: flag, environment, file, default; and one clear line when one of them is wrong."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from blemish.config.fields import Section
from blemish.config.schema import Config
from blemish.errors import ConfigError

SHORT_NAMES: dict[str, str] = {
    "size": "image.size",
    "backbone": "backbone.name",
    "maps": "output.maps",
    "preset": "preset",
    "seed": "seed",
    "device": "device",
    "clusters": "clusters",
    "cache": "cache.enabled",
    "cache_dir": "cache.folder",
}
"""Settings that have a flag of their own and an environment variable BLEMISH_<NAME>."""

PREFIX = "BLEMISH_"

NEAR_ENOUGH = 0.75
"""How like a setting's name a variable of the environment must be to count as a slip of it: others belong to other programs."""


class Source(NamedTuple):
    """Values, nested or with dotted keys, and the words that tell a user where they stand."""

    origin: str
    values: Mapping[str, Any]


def gather(
    flags: Mapping[str, Any], assignments: Sequence[str], file: Path | None, environ: Mapping[str, str]
) -> Config:
    """Settings of a command line.

    Args:
        flags: :data:`SHORT_NAMES` -> value; None = not given.
        assignments: ``section.key=value`` texts; they win over the flags.
        file: settings file; default: the one that ``BLEMISH_CONFIG`` names, if any.
        environ: environment; only names that begin with ``BLEMISH_`` are looked at.

    Raises:
        ConfigError: see :meth:`Config.load`; also for an assignment without ``=``.
    """
    if file is None and environ.get(f"{PREFIX}CONFIG"):
        file = Path(environ[f"{PREFIX}CONFIG"])
    sources = [] if file is None else [read_file(file)]
    sources += from_environment(environ)
    sources += [
        Source(f"--{n.replace('_', '-')}", {SHORT_NAMES[n]: value}) for n, value in flags.items() if value is not None
    ]
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {text}: write it as section.key=value, for example --set image.size=320")
        sources.append(Source(f"--set {text}", {key.strip(): parse_value(value)}))
    return merge(sources)


def from_environment(environ: Mapping[str, str]) -> list[Source]:
    """``BLEMISH_SIZE`` and its like, and any setting as ``BLEMISH_SECTION__KEY``; empty values count as not given.

    Raises:
        ConfigError: a name that is nearly, but not, that of a setting.
    """
    sources = []
    for name in sorted(set(environ) - {f"{PREFIX}CONFIG"}):
        if not name.startswith(PREFIX) or not environ[name].strip():
            continue
        short = name[len(PREFIX) :].lower()
        key = SHORT_NAMES.get(short) or (short.replace("__", ".") if "__" in short else None)
        if key is not None:
            sources.append(Source(name, {key: parse_value(environ[name])}))
        else:
            names = [*SHORT_NAMES, *(known.replace(".", "__") for known in known_keys() if "." in known)]
            for near in difflib.get_close_matches(short, names, n=1, cutoff=NEAR_ENOUGH):
                raise ConfigError(f"{name}: no such setting; did you mean '{PREFIX}{near.upper()}'?")
    return sources


def parse_value(text: str) -> Any:
    """A value as TOML would read it; what TOML cannot read is plain text.

    >>> parse_value("0.5"), parse_value("true"), parse_value("[4, 8]"), parse_value("squash")
    (0.5, True, [4, 8], 'squash')
    """
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text.strip()
    return parsed["value"] if len(parsed) == 1 else text.strip()


def read_file(path: Path) -> Source:
    """Settings file as a source: ``.toml`` is TOML, ``.yaml`` and ``.yml`` are YAML (plain values only)."""
    if path.suffix.lower() not in (".toml", ".yaml", ".yml"):
        raise ConfigError(f"{path}: settings files end in .toml, .yaml or .yml")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text; save it as UTF-8") from error
    values = _toml(path, text) if path.suffix.lower() == ".toml" else _yaml(path, text)
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path}: holds no settings by name; write lines such as 'seed: 1'")
    return Source(str(path), values)


def _toml(path: Path, text: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from error


def _yaml(path: Path, text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text) or {}
    except (yaml.YAMLError, ValueError) as error:  # the latter for a date that no calendar has
        raise ConfigError(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from error


def merge(sources: Sequence[Source]) -> Config:
    """Settings from sources, the last one strongest.

    Raises:
        ConfigError: one line that names the source, the key and, for an unknown key, the nearest known one.
    """
    known = known_keys()
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for source in sources:
        for key, value in _flat(source, known):
            if key not in known:
                raise ConfigError(f"{source.origin}: {_unknown(key, known)}")
            origins[key] = source.origin
            section, _, name = key.rpartition(".")
            (values.setdefault(section, {}) if section else values)[name] = value
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_first_problem(error, origins, known)) from None


def known_keys() -> dict[str, str]:
    """Every setting with its dotted name, in order, and its description."""
    keys: dict[str, str] = {}
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            keys |= {f"{name}.{k}": f.description or "" for k, f in field.annotation.model_fields.items()}
        else:
            keys[name] = field.description or ""
    return keys


def to_toml(config: Config) -> str:
    """All settings as TOML."""
    lines: list[str] = []
    tables: list[str] = []
    for name, value in config.model_dump(mode="json").items():
        if isinstance(value, dict):
            tables += ["", f"[{name}]", *(f"{key} = {_toml_value(v)}" for key, v in value.items())]
        else:
            lines.append(f"{name} = {_toml_value(value)}")
    return "\n".join([*lines, *tables]) + "\n"


def _toml_value(value: Any) -> str:
    # JSON's texts, numbers, booleans and flat lists are TOML's too, but for the escapes of characters beyond 16 bits
    return json.dumps("none" if value is None else value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _flat(source: Source, known: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values; whatever is no table where a section stands is an error."""
    sections = {key.rpartition(".")[0] for key in known} - {""}
    for name, value in source.values.items():
        if name not in sections:
            yield str(name), value
        elif isinstance(value, Section):
            yield from ((f"{name}.{key}", getattr(value, key)) for key in type(value).model_fields)
        elif isinstance(value, Mapping):
            yield from ((f"{name}.{key}", v) for key, v in value.items())
        else:
            first = next(key for key in known if key.startswith(f"{name}."))
            raise ConfigError(f"{source.origin}: '{name}' is a section; set its keys, for example {first}")


def _unknown(key: str, known: Mapping[str, str]) -> str:
    name = key.rpartition(".")[2]
    # the right name in the wrong section is the likelier slip than a section misspelt
    same_name = [k for k in known if k.rpartition(".")[2] == name]
    near = difflib.get_close_matches(key, same_name or list(known), n=1, cutoff=0.0 if same_name else 0.5)
    if not near:
        leaves = {k.rpartition(".")[2]: k for k in known}
        near = [leaves[leaf] for leaf in difflib.get_close_matches(name, leaves, n=1, cutoff=0.5)]
    remedy = f"did you mean '{near[0]}'?" if near else "'blemish config' lists all settings"
    return f"unknown setting '{key}'; {remedy}"


def _first_problem(error: ValidationError, origins: Mapping[str, str], known: Mapping[str, str]) -> str:
    problems = error.errors(include_url=False)
    located = [(_key(problem["loc"], known), problem) for problem in problems]
    key = located[0][0]
    # a union reports once per member; the alternatives belong in one line
    reasons = list(dict.fromkeys(_reason(problem["msg"]) for k, problem in located if k == key))
    value = next((p["input"] for k, p in located if k == key), None)
    origin = origins.get(key)
    shown = f"{key} = {value!r}"
    if len(shown) > 120:
        shown = key
    return f"{origin + ': ' if origin else ''}{shown}: {' or '.join(reasons)}"


def _key(loc: tuple[int | str, ...], known: Mapping[str, str]) -> str:
    parts = [str(part) for part in loc]
    return next((k for k in (".".join(parts[:2]), parts[0] if parts else "") if k in known), ".".join(parts))


def _reason(message: str) -> str:
    text = message.removeprefix("Value error, ").replace("Input should be", "must be")
    return text[:1].lower() + text[1:]
