"""The documentation is true: names, settings, options and links exist, examples run, and the language is plain US English."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from blemish import Config, __version__
from blemish.cli.app import app
from blemish.config.sources import SHORT_NAMES
from blemish.synthetic.demo import make_demo

ROOT = Path(__file__).parent.parent
METHOD, USAGE, README = ROOT / "docs" / "method.md", ROOT / "docs" / "usage.md", ROOT / "README.md"
CHANGELOG = ROOT / "CHANGELOG.md"
MODEL_CARD = ROOT / "src" / "blemish" / "backbones" / "MODEL_CARD.md"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
CURRENT = [page for page in PAGES if page != CHANGELOG]  # the changelog also has names of the past

NAMES = sorted(set(re.findall(r"`(blemish(?:\.\w+)+)`", METHOD.read_text())))
SETTING_ROW = re.compile(r"^\| `([\w.]+)` \| `([^`]+)` \| `([^`]+)` \|", re.MULTILINE)
SECTIONS = "image|backbone|features|localization|descriptor|regions|contrastive|cluster|output|cache"
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
GENERATED = re.compile(r"<!-- settings:begin -->.*?<!-- settings:end -->", re.DOTALL)

BRITISH = re.compile(
    r"\b\w*(?:neighbour|colour|favour|behaviour|labour|honour|centre|metre\b|fibre|grey|catalogue|dialogue|artefact|licence"
    r"|judgement|programme\b|whilst|learnt|labell|modell|cancell|travell|signall|fulfil\b|defence|ageing"
    r"|(?:local|normal|standard|optim|initial|visual|summar|organ|recogn|general|minim|maxim|random|vector|regular|serial"
    r"|categor|emphas|util|parametr|real|special|final|penal|character|quant)is(?:e|es|ed|er|ing|ation)\b"
    r"|analys(?:e|es|ed|ing)\b(?<!analyses))\w*",
    re.IGNORECASE,
)


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


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


DEFAULTS = flat(Config().model_dump(mode="json"))
PAPER = flat(Config(preset="paper").model_dump(mode="json"))


def shown(value: Any) -> str:
    return "none" if value is None else json.dumps(value).strip('"')


def without_code(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """Fragments of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", without_code(page), re.MULTILINE)
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


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in FENCE.findall(page.read_text()) if kind == language]


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command on a page, in shell blocks and in code spans that begin with a program of ours."""
    spans = re.findall(r"`((?:blemish|python|scripts/\w+) [^`]+)`", without_code(page))
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    for line in [*lines, *(" ".join(span.split()) for span in spans)]:
        words: list[str] = []
        for word in [*shlex.split(re.sub(r"> *\S+", "", line), comments=True), "&&"]:
            if word != "&&":
                words.append(word)
            elif words:
                yield words
                words = []


def problems(words: list[str]) -> list[str]:
    """What is wrong with a command: an unknown program, a missing file, an option or setting that does not exist."""
    program, *rest = words
    options = {word.partition("=")[0] for word in rest if re.match(r"--\w", word)}
    if program == "blemish":
        return unknown_options(rest[:1], options) + unknown_settings(rest)
    if program.startswith("scripts/"):
        return [] if os.access(ROOT / program, os.X_OK) else [f"{program} is no command"]
    if program == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        missing = [word for word in rest if word.endswith(".txt") and not (ROOT / word).exists()]
        return missing + [e for word in rest for e in re.findall(r"\[(\w+)\]", word) if e not in extras]
    if program == "python":
        name = rest[1].replace(".", "/") + ".py" if rest[0] == "-m" else rest[0]
        if not (ROOT / name).exists():
            return [f"{name} does not exist"]
        if name == "benchmarks/accuracy.py":  # the program itself with further backbones
            return unknown_options(rest[1:2], options)
        text = (ROOT / name).read_text()
        return [f"{name} has no {option}" for option in options if option not in text] + unknown_settings(rest)
    return [] if program in (".", "python3") or program.isupper() else [f"{program} is not known"]


def unknown_options(command: list[str], options: set[str]) -> list[str]:
    root = get_command(app)
    known = root.commands
    if command and not command[0].startswith("-") and not command[0].isupper():
        if command[0] not in known:
            return [f"blemish has no command {command[0]}"]
        root = known[command[0]]
    allowed = {opt for param in root.params for opt in [*param.opts, *param.secondary_opts]} | {"--help"}
    return [f"{' '.join(command)} has no {option}" for option in sorted(options - allowed)]


def unknown_settings(words: list[str]) -> list[str]:
    values = [value for flag, value in pairwise(words) if flag in ("--set", "--row")]
    pairs = [re.split(r",(?=[\w.]+=)", value) for value in values if not value.isupper()]
    keys = {pair.partition("=")[0] for group in pairs for pair in group}
    return sorted(key for key in keys if key not in DEFAULTS and not key.isupper())


@pytest.fixture(scope="module")
def folder_of_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds FOLDER, a set small enough for every example."""
    root = tmp_path_factory.mktemp("examples")
    demo = make_demo(root / "demo", n_images=12, size=64, seed=3)
    (root / "FOLDER").symlink_to(demo.images, target_is_directory=True)
    return root


@pytest.mark.parametrize("name", NAMES)
def test_every_function_named_in_the_method_exists(name: str) -> None:
    assert callable(find(name)), name


@pytest.mark.parametrize("name", ["blemish.nowhere.run", "blemish.pipeline.nothing", "blemish.pipeline.run.nothing"])
def test_a_name_that_does_not_exist_is_noticed(name: str) -> None:
    with pytest.raises((AttributeError, ModuleNotFoundError)):
        find(name)


def test_the_method_covers_every_stage() -> None:
    named = {".".join(name.split(".")[1:3]) for name in NAMES} | {name.split(".")[1] for name in NAMES}
    folders = {"images", "backbones", "features", "localization", "descriptors", "clustering", "pipeline", "stages"}
    localization = {"model", "neighbors", "reconstruction", "border", "fca", "median_fill", "scores", "threshold"}
    clustering = {"grouping", "methods", "n_clusters", "consensus", "ward", "score_weights"}
    assert folders <= named
    assert {f"localization.{part}" for part in localization} <= named
    assert {f"clustering.{part}" for part in clustering} <= named


def test_settings_in_the_method_have_the_values_of_the_program() -> None:
    rows = SETTING_ROW.findall(METHOD.read_text())
    assert rows == [(key, shown(DEFAULTS[key]), shown(PAPER[key])) for key, _, _ in rows]
    changed = {key for key in DEFAULTS if DEFAULTS[key] != PAPER[key]} - {"preset"}
    assert changed <= {key for key, _, _ in rows}, "a setting that the preset changes is not explained"


@pytest.mark.parametrize("page", CURRENT, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_setting_named_on_a_page_exists(page: Path) -> None:
    named = set(re.findall(rf"`((?:{SECTIONS})\.\w+(?:\.\w+)*)(?:\s?=[^`]*)?`", page.read_text()))
    known = set(DEFAULTS) | {key.rpartition(".")[0] for key in DEFAULTS}
    assert {name for name in named if not name.endswith((".py", ".md", ".csv", ".parquet"))} <= known


def test_every_environment_variable_named_exists() -> None:
    names = {name for page in CURRENT for name in re.findall(r"BLEMISH_(\w+)", page.read_text())} - {"CONFIG"}
    assert {"SIZE", "LOCALIZATION__MEMORY_BANK__DENSITY_EXPONENT"} <= names
    keys = {SHORT_NAMES.get(name.lower(), name.lower().replace("__", ".")) for name in names}
    assert keys <= set(DEFAULTS)


@pytest.mark.parametrize("page", [*PAGES, MODEL_CARD], ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    assert not broken_links(page)


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One head\n[a](page.md) [b](none.md) [c](#one-head) [d](#no-head) [e](https://none.example/x)\n")
    assert broken_links(page) == ["none.md", "#no-head"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_on_a_page_is_known(page: Path) -> None:
    assert [problem for words in commands(page) for problem in problems(words)] == []


def test_a_wrong_command_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\nblemish run X --outt Y && scripts/nothing  # c\n```\n`blemish config --set image.sizes=3`\n"
    )
    found = [problem for words in commands(page) for problem in problems(words)]
    assert found == ["run has no --outt", "scripts/nothing is no command", "image.sizes"]


@pytest.mark.parametrize(
    ("page", "code"), [(page.name, code) for page in (README, USAGE) for code in blocks(page, "python")]
)
def test_python_examples_run(
    page: str, code: str, folder_of_images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder_of_images)
    exec(compile(code, page, "exec"), {})
    assert capsys.readouterr().out


def test_settings_files_on_the_pages_are_valid() -> None:
    texts = blocks(USAGE, "toml")
    assert texts
    assert all(Config.from_values(tomllib.loads(text)) != Config() for text in texts)


def test_exit_codes_are_the_same_on_all_pages() -> None:
    tables = [re.findall(r"^\| (\d+) \|", page.read_text(), re.MULTILINE) for page in (README, USAGE)]
    assert tables == [["0", "1", "2", "3", "130"]] * 2


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_are_short(page: Path) -> None:
    if page.name == "benchmarks.md":
        pytest.skip("rendered by a command")
    lines = GENERATED.sub("", page.read_text()).splitlines()
    too_long = [line for line in lines if len(line) > 120 and not line.startswith("python3 -m venv")]
    assert too_long == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_spelling_is_american(page: Path) -> None:
    assert [match.group() for match in BRITISH.finditer(page.read_text())] == []


@pytest.mark.parametrize("word", ["neighbours", "Grey", "labelled", "normalised", "analyse", "visualisation", "centre"])
def test_a_british_spelling_is_noticed(word: str) -> None:
    assert BRITISH.search(f"a {word} b")
    assert not BRITISH.search("center gray analysis analyses otherwise precise realistic raised finalist neighbor")


def test_pictures_are_small() -> None:
    pictures = list((ROOT / "docs" / "images").iterdir())
    assert pictures
    assert all(picture.stat().st_size < 300_000 for picture in pictures)


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == __version__
