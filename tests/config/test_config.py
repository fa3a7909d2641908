from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from blemish.config.schema import PAPER, Config
from blemish.config.sources import SHORT_NAMES, gather, known_keys, parse_value
from blemish.errors import ConfigError

USAGE = Path(__file__).parents[2] / "docs" / "usage.md"
BEGIN, END = "<!-- settings: begin -->", "<!-- settings: end -->"


def value(config: Config, key: str) -> Any:
    found: Any = config
    for part in key.split("."):
        found = getattr(found, part)
    return found


def settings_table() -> str:
    """The table of docs/usage.md, from the descriptions."""
    ours, paper = Config(), Config.from_preset("paper")
    rows = ["| setting | default | paper | meaning |", "|---|---|---|---|"]
    for key, text in known_keys().items():
        a, b = (shown(value(config, key)) for config in (ours, paper))
        rows.append(f"| `{key}` | {a} | {'' if a == b or key == 'preset' else b} | {text} |")
    return "\n".join(rows)


def shown(item: Any) -> str:
    return f"`{'none' if item is None else json.dumps(item).strip(chr(34))}`"


def test_every_setting_is_described() -> None:
    assert len(known_keys()) > 50
    assert [key for key, text in known_keys().items() if not text] == []


def test_documented_settings_are_in_step() -> None:
    text = USAGE.read_text(encoding="utf-8")
    stored = text.split(BEGIN)[1].split(END)[0].strip()
    assert stored == settings_table(), "run `python tests/test_config.py` to write the table anew"


def test_precedence_is_flag_environment_file_default(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('seed = 1\n[image]\nsize = 64\nmode = "each"\nmax_side = 100\n')
    environ = {"BLEMISH_SEED": "2", "BLEMISH_SIZE": "96", "BLEMISH_IMAGE__MODE": "squash"}
    config = gather({"size": 128, "seed": None}, [], file, environ)
    assert (config.image.size, config.seed, config.image.mode) == (128, 2, "squash")
    assert config.image.max_side == 100
    assert config.features == Config().features
    assert gather({"size": 128}, ["image.size=160"], file, environ).image.size == 160


@pytest.mark.parametrize("short", SHORT_NAMES)
def test_short_environment_names(short: str) -> None:
    other = {"size": 320, "backbone": "timm:x", "maps": "none", "preset": "paper", "seed": 5, "device": "cpu"}
    wanted = {**other, "clusters": 4, "cache": "false", "cache_dir": "/x"}[short]
    config = gather({}, [], None, {f"BLEMISH_{short.upper()}": str(wanted)})
    wanted = parse_value(str(wanted))
    assert value(config, SHORT_NAMES[short]) == wanted != value(Config(), SHORT_NAMES[short])


def test_environment_names_of_others_and_empty_ones_are_left_alone() -> None:
    assert (
        gather({}, [], None, {"BLEMISH_LOG_DIR": "/x", "BLEMISH_SHARED": "/y", "BLEMISH_SEED": " ", "SIZE": "9"})
        == Config()
    )


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("BLEMISH_CLUSTER", "BLEMISH_CLUSTERS"),
        ("BLEMISH_SZIE", "BLEMISH_SIZE"),
        ("BLEMISH_LOCALIZE_BORDER", "BLEMISH_LOCALIZE__BORDER"),
        ("BLEMISH_CACHEDIR", "BLEMISH_CACHE_DIR"),
    ],
)
def test_slips_in_environment_names_are_named(name: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: no such setting; did you mean '{meant}'"):
        gather({}, [], None, {name: "3"})


def test_file_named_by_the_environment(tmp_path: Path) -> None:
    for name, seed in (("a.toml", 3), ("b.toml", 4)):
        (tmp_path / name).write_text(f"seed = {seed}\n")
    environ = {"BLEMISH_CONFIG": str(tmp_path / "a.toml")}
    assert gather({}, [], None, environ).seed == 3
    assert gather({}, [], tmp_path / "b.toml", environ).seed == 4


def test_paper_preset_and_what_wins_over_it() -> None:
    paper = Config.from_preset("paper")
    for section, values in PAPER.items():
        for name, expected in values.items():
            assert value(paper, f"{section}.{name}") == expected
    mixed = gather({"preset": "paper"}, ["localize.border=2"], None, {"BLEMISH_SIZE": "400"})
    assert (mixed.image.size, mixed.image.mode, mixed.localize.border) == (400, "squash", 2)


def test_preset_may_stand_in_a_weaker_source_than_the_values(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[image]\nsize = 300\n")
    config = gather({"preset": "paper"}, [], tmp_path / "c.toml", {})
    # a preset is a set of defaults: a value that somebody wrote down wins, wherever the preset's name came from
    assert (config.image.size, config.localize.method) == (300, "bal")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"image": {"sze": 3}}, ["image.sze", "did you mean 'image.size'"]),
        ({"imge.size": 3}, ["imge.size", "did you mean 'image.size'"]),
        ({"border": 3}, ["'border'", "did you mean 'localize.border'"]),
        ({"zzzz": 1}, ["'zzzz'", "blemish config"]),
        ({"image": 5}, ["'image' is a section", "image.size"]),
        ({"image.size": 31}, ["image.size = 31", "32"]),
        ({"image.size": 4097}, ["image.size = 4097", "4096"]),
        ({"features.pool": 2}, ["features.pool = 2", "odd"]),
        ({"localize.fca_patch": 4}, ["localize.fca_patch = 4", "odd"]),
        ({"clusters": 0}, ["clusters = 0", "auto"]),
        ({"localize.threshold": -1.0}, ["localize.threshold = -1.0", "auto"]),
        ({"seed": True}, ["seed = True", "no value"]),
        ({"seed": -1}, ["seed = -1"]),
        ({"descriptor.tau": 0}, ["descriptor.tau = 0"]),
        ({"normality.vae_lr": float("nan")}, ["normality.vae_lr", "finite"]),
        ({"preset": "papr"}, ["preset = 'papr'", "paper"]),
        ({"backbone.strides": [3]}, ["backbone.strides", "8"]),
        ({"backbone.strides": []}, ["backbone.strides"]),
    ],
)
def test_wrong_settings_are_one_line_that_names_them(values: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_values(values, origin="x.toml")
    message = str(caught.value)
    assert message.startswith("x.toml: ")
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_the_source_that_is_wrong_is_named(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("image: {size: 64}\n")
    with pytest.raises(ConfigError, match=r"^BLEMISH_SIZE: image\.size = 7: "):
        gather({}, [], tmp_path / "c.yaml", {"BLEMISH_SIZE": "7"})
    with pytest.raises(ConfigError, match=r"^--size: image\.size = 8: "):
        gather({"size": 8}, [], tmp_path / "c.yaml", {"BLEMISH_SIZE": "64"})
    with pytest.raises(ConfigError, match=r"^--set image\.sise=1: .*image\.size"):
        gather({}, ["image.sise=1"], None, {})
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        gather({}, ["image.size"], None, {})


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("a.toml", b"size = = 3", "not valid TOML"),
        ("a.yaml", b"a: [1", "not valid YAML"),
        ("a.yaml", b"seed: 2024-13-45", "not valid YAML"),
        ("a.yaml", b"!!python/object/apply:os.getcwd []", "not valid YAML"),
        ("a.yml", b"- 1\n- 2\n", "no settings by name"),
        ("a.toml", b"\xff\xfe", "UTF-8"),
        ("a.ini", b"", ".toml"),
        ("missing.toml", None, "cannot be read"),
    ],
)
def test_files_that_are_no_settings(tmp_path: Path, name: str, content: bytes | None, word: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=word) as caught:
        Config.load(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


CHANGED = {"clusters": 5, "backbone.strides": (8, 16), "descriptor.tau": 0.5, "localize.threshold": 0.25}


@pytest.mark.parametrize("suffix", ["toml", "yaml"])
@pytest.mark.parametrize("preset", ["default", "paper"])
@pytest.mark.parametrize("changed", [{}, CHANGED, {"descriptor.tau": None, "backbone.name": 'a "b" \U0001f50d\x7f'}])
def test_files_round_trip(tmp_path: Path, suffix: str, preset: str, changed: dict[str, Any]) -> None:
    config = Config.from_values({"preset": preset, **changed})
    file = tmp_path / f"c.{suffix}"
    text = config.to_toml() if suffix == "toml" else yaml.safe_dump(config.model_dump(mode="json"))
    file.write_text(text, encoding="utf-8")
    again = Config.load(file)
    assert again == config
    assert again.digest() == config.digest()


def test_empty_yaml_is_the_default(tmp_path: Path) -> None:
    (tmp_path / "c.yml").write_text("")
    assert Config.load(tmp_path / "c.yml") == Config()


def test_digest_is_the_hash_of_the_sorted_values() -> None:
    config = Config(seed=3)
    values = {key: v for key, v in config.model_dump(mode="json").items() if key not in ("preset", "cache")}
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    assert config.digest() == hashlib.sha256(text.encode()).hexdigest()


def test_digest_follows_values_and_nothing_else() -> None:
    assert Config.from_values({"localize.post_sigma": 1}).digest() == Config().digest()
    assert Config.from_values({"backbone.strides": "16, 8"}).digest() == Config(backbone={"strides": [8, 16]}).digest()
    spelt_out = {f"{s}.{k}": v for s, values in PAPER.items() for k, v in values.items()}
    assert Config.from_values(spelt_out).digest() == Config.from_preset("paper").digest()
    digests = {Config.from_values(change).digest() for change in ({}, {"seed": 1}, {"image.size": 64}, CHANGED)}
    assert len(digests) == 4


def test_stage_digest_sees_only_its_sections() -> None:
    base, other = Config(), Config().updated(**{"cluster.method": "kmeans", "clusters": 3})
    assert base.stage_digest("image", "backbone") == other.stage_digest("backbone", "image")
    assert base.stage_digest("cluster") != other.stage_digest("cluster")
    assert base.stage_digest("image") != base.stage_digest("backbone")


def test_settings_are_frozen_and_checked_in_python_too() -> None:
    config = Config()
    with pytest.raises(ValidationError):
        config.seed = 3  # type: ignore[misc]
    with pytest.raises(ValidationError):
        config.image.size = 3  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Config(sede=3)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"image\.size"):
        config.updated(**{"image.size": 1})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3", 3),
        ("1e-4", 1e-4),
        ("false", False),
        ("auto", "auto"),
        (" a b ", "a b"),
        ("", ""),
        ("1\nseed = 2", "1\nseed = 2"),
    ],
)
def test_values_from_text(text: str, expected: object) -> None:
    assert parse_value(text) == expected
    assert type(parse_value(text)) is type(expected)


if __name__ == "__main__":
    head, rest = USAGE.read_text(encoding="utf-8").split(BEGIN)
    USAGE.write_text(f"{head}{BEGIN}\n{settings_table()}\n{END}{rest.split(END)[1]}", encoding="utf-8")
