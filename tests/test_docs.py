"""The documents name things that exist: functions, settings with their values, links."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from blemish.config.schema import PAPER, Config
from blemish.config.sources import known_keys

ROOT = Path(__file__).parent.parent
METHOD = ROOT / "docs" / "method.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

NAMES = sorted(set(re.findall(r"`(blemish(?:\.\w+)+)`", METHOD.read_text())))
SETTING_ROW = re.compile(r"^\| `(\w+\.\w+)` \| `([^`]+)` \| `([^`]+)` \|", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def find(name: str) -> Any:
    """The object called ``blemish.module.name``: the longest prefix that is a module, then attributes."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError as error:
            if not ".".join(parts).startswith(str(error.name)):
                raise
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def anchors(page: Path) -> set[str]:
    """Fragments of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads}


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in LINK.findall(page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, fragment = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (fragment and fragment not in anchors(target)):
            broken.append(link)
    return broken


@pytest.mark.parametrize("name", NAMES)
def test_every_function_named_in_the_method_exists(name: str) -> None:
    assert callable(find(name)), name


def test_the_method_names_every_stage() -> None:
    modules = {name.split(".")[1] for name in NAMES}
    stages = {"images", "features", "normality", "localize", "residuals", "fca", "filters", "descriptors", "contrast"}
    assert stages | {"refine", "clustering", "linkage", "pipeline", "stages", "backbones"} <= modules


@pytest.mark.parametrize("name", ["blemish.nowhere.run", "blemish.pipeline.nothing", "blemish.pipeline.run.nothing"])
def test_a_name_that_does_not_exist_is_noticed(name: str) -> None:
    with pytest.raises((AttributeError, ModuleNotFoundError)):
        find(name)


def test_settings_in_the_method_have_the_values_of_the_program() -> None:
    def value(config: Config, key: str) -> str:
        section, _, name = key.partition(".")
        found = config.model_dump(mode="json")[section][name]
        return "none" if found is None else json.dumps(found).strip('"')

    rows = SETTING_ROW.findall(METHOD.read_text())
    ours, paper = Config(), Config.from_preset("paper")
    assert {key for key, _, _ in rows} <= set(known_keys())
    assert rows == [(key, value(ours, key), value(paper, key)) for key, _, _ in rows]
    changed = {f"{section}.{name}" for section, values in PAPER.items() for name in values}
    assert changed <= {key for key, _, _ in rows}, "a setting that the preset changes is not explained"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    assert not broken_links(page)


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One head\n[a](page.md) [b](none.md) [c](#one-head) [d](#no-head) [e](https://none.example/x)\n")
    assert broken_links(page) == ["none.md", "#no-head"]
