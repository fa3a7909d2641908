"""Former names of settings and values are refused with the present name, wherever they are written."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import ValidationError

from blemish.config import Config, Section, gather, known_keys
from blemish.config.renamed import RENAMED, RENAMED_VALUES
from blemish.errors import ConfigError

FORMER_VALUES = [(key, old, new) for key, values in RENAMED_VALUES.items() for old, new in values.items()]


def nested(key: str, value: Any) -> dict[str, Any]:
    section, _, name = key.rpartition(".")
    return {section: {name: value}} if section else {name: value}


def allowed(key: str) -> set[Any]:
    model: Any = Config
    *sections, name = key.split(".")
    for section in sections:
        model = model.model_fields[section].annotation
    return set(get_args(model.model_fields[name].annotation))


def test_every_former_name_leads_to_a_setting_of_today() -> None:
    known = set(known_keys(Config))
    assert len(RENAMED) > 50
    assert set(RENAMED.values()) <= known
    assert not set(RENAMED) & known


def test_every_former_value_leads_to_a_value_of_today() -> None:
    assert all(new in allowed(key) for key, _, new in FORMER_VALUES)
    assert all(old not in allowed(key) for key, old, _ in FORMER_VALUES)


@pytest.mark.parametrize(("former", "present"), RENAMED.items())
def test_a_former_name_is_answered_with_the_present_one(former: str, present: str, tmp_path: Path) -> None:
    answer = re.escape(f"'{former}' is now called '{present}'")
    with pytest.raises(ConfigError, match=f"^--set {re.escape(former)}=1: {answer}$"):
        gather(Config, {}, [f"{former}=1"], None, {})
    section, _, name = former.rpartition(".")
    toml = f"[{section}]\n{name} = 1\n" if section else f"{name} = 1\n"
    texts = {"nested.toml": toml, "dotted.toml": f"{former} = 1", "nested.yaml": yaml.safe_dump(nested(former, 1))}
    texts["dotted.yaml"] = f"{json.dumps(former)}: 1"
    for file, text in texts.items():
        (tmp_path / file).write_text(text)
        with pytest.raises(ConfigError, match=f"{re.escape(file)}: {answer}$"):
            Config.load(tmp_path / file)
    with pytest.raises(ConfigError, match=answer):
        Config.from_values({former: 1})
    with pytest.raises(ConfigError, match=answer):
        Config().updated(**{former: 1})
    with pytest.raises(ValidationError, match=answer):
        Config(**nested(former, 1))


@pytest.mark.parametrize(("former", "present"), RENAMED.items())
def test_a_former_environment_name_is_answered_with_the_present_one(former: str, present: str) -> None:
    name = f"BLEMISH_{former.replace('.', '__').upper()}"
    with pytest.raises(ConfigError, match=f"^{name}: .*is now called") as caught:
        gather(Config, {}, [], None, {name: "1"})
    assert present in str(caught.value) or f"BLEMISH_{present.upper()}" in str(caught.value)


@pytest.mark.parametrize(("key", "former", "present"), FORMER_VALUES)
def test_a_former_value_is_answered_with_the_present_one(key: str, former: str, present: str) -> None:
    with pytest.raises(ConfigError, match=f"'{former}' is now called '{present}'$"):
        Config.from_values({key: former})


def test_sections_are_checked_in_python_as_well() -> None:
    assert issubclass(Config, Section)
    with pytest.raises(ValidationError, match=r"'localize\.border' is now called 'localization\.zero_border'"):
        Config(preset="paper", localize={"border": 2})  # type: ignore[call-arg]
