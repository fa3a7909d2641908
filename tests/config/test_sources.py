"""Where values come from, and which source takes precedence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from blemish.config import Config, gather, parse_value
from blemish.config.sources import SHORT_NAMES
from blemish.errors import ConfigError


def value(config: Config, key: str) -> Any:
    found: Any = config
    for part in key.split("."):
        found = getattr(found, part)
    return found


def test_flags_take_precedence_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('seed = 1\n[image]\nsize = 64\nresize = "image"\nmax_side = 100\n')
    environ = {"BLEMISH_SEED": "2", "BLEMISH_SIZE": "96", "BLEMISH_IMAGE__RESIZE": "stretch"}
    config = gather(Config, {"size": 128, "seed": None}, [], file, environ)
    assert (config.image.size, config.seed, config.image.resize) == (128, 2, "stretch")
    assert config.image.max_side == 100
    assert config.features == Config().features
    assert gather(Config, {"size": 128}, ["image.size=160"], file, environ).image.size == 160
    assert gather(Config, {}, ["image.size=160", "image.size=192"], None, {}).image.size == 192


@pytest.mark.parametrize(
    ("short", "text", "expected"),
    [
        ("size", "320", 320),
        ("roi", "masks", "masks"),
        ("backbone", "timm:x", "timm:x"),
        ("maps", "none", "none"),
        ("report", "single", "single"),
        ("preset", "paper", "paper"),
        ("seed", "5", 5),
        ("device", "cpu", "cpu"),
        ("n_clusters", "4", 4),
        ("group_by", "image", "image"),
        ("false_alarms", "0.02", 0.02),
        ("smallest_defect", "12", 12.0),
        ("rejects", "true", True),
        ("cache", "false", False),
        ("cache_dir", "/x", "/x"),
    ],
)
def test_settings_with_a_flag_have_a_short_environment_name(short: str, text: str, expected: object) -> None:
    config = gather(Config, {}, [], None, {f"BLEMISH_{short.upper()}": text})
    assert value(config, SHORT_NAMES[short]) == expected != value(Config(), SHORT_NAMES[short])


def test_every_short_name_is_tested_above() -> None:
    assert len(SHORT_NAMES) == 15


def test_nested_settings_have_an_environment_name() -> None:
    config = gather(Config, {}, [], None, {"BLEMISH_LOCALIZATION__MEMORY_BANK__PATCHES_PER_IMAGE": "7"})
    assert config.localization.memory_bank.patches_per_image == 7


def test_environment_names_of_other_programs_and_empty_values_are_ignored() -> None:
    environ = {"BLEMISH_LOG_DIR": "/x", "BLEMISH_SHARED": "/y", "BLEMISH_SEED": " ", "SIZE": "9"}
    assert gather(Config, {}, [], None, environ) == Config()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("BLEMISH_NCLUSTERS", "BLEMISH_N_CLUSTERS"),
        ("BLEMISH_SZIE", "BLEMISH_SIZE"),
        ("BLEMISH_LOCALIZATION_ZERO_BORDER", "BLEMISH_LOCALIZATION__ZERO_BORDER"),
        ("BLEMISH_CACHEDIR", "BLEMISH_CACHE_DIR"),
    ],
)
def test_a_misspelled_environment_name_is_answered_with_the_right_one(name: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: no such setting; did you mean '{meant}'"):
        gather(Config, {}, [], None, {name: "3"})


def test_the_environment_can_name_the_file(tmp_path: Path) -> None:
    for name, seed in (("a.toml", 3), ("b.toml", 4)):
        (tmp_path / name).write_text(f"seed = {seed}\n")
    environ = {"BLEMISH_CONFIG": str(tmp_path / "a.toml")}
    assert gather(Config, {}, [], None, environ).seed == 3
    assert gather(Config, {}, [], tmp_path / "b.toml", environ).seed == 4


def test_explicit_values_replace_those_of_a_preset_whatever_their_source(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[image]\nsize = 300\n")
    config = gather(Config, {"preset": "paper"}, ["localization.zero_border=2"], tmp_path / "c.toml", {})
    assert (config.image.size, config.localization.zero_border, config.localization.method) == (300, 2, "vae_fca")


def test_a_message_names_the_source_of_the_wrong_value(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("image: {size: 64}\n")
    with pytest.raises(ConfigError, match=r"^BLEMISH_SIZE: image\.size = 7: "):
        gather(Config, {}, [], tmp_path / "c.yaml", {"BLEMISH_SIZE": "7"})
    with pytest.raises(ConfigError, match=r"^--size: image\.size = 8: "):
        gather(Config, {"size": 8}, [], tmp_path / "c.yaml", {"BLEMISH_SIZE": "64"})
    with pytest.raises(ConfigError, match=r"^--n-clusters: n_clusters = 'x': "):
        gather(Config, {"n_clusters": "x"}, [], tmp_path / "c.yaml", {})
    with pytest.raises(ConfigError, match=r"^--set image\.sise=1: .*image\.size"):
        gather(Config, {}, ["image.sise=1"], None, {})
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        gather(Config, {}, ["image.size"], None, {})


@pytest.mark.parametrize("part", ["x", "9", "[", "{a.", "\x1b[31m"])
def test_a_long_value_or_key_is_not_repeated_whole(part: str) -> None:
    long = part * (200_000 // len(part))
    for assignment in (f"seed={long}", f"{long}=1", long):
        with pytest.raises(ConfigError) as caught:
            gather(Config, {}, [assignment], None, {})
        assert len(str(caught.value)) < 800
        assert str(caught.value).isprintable()
    with pytest.raises(ConfigError) as caught:
        gather(Config, {}, [], None, {"BLEMISH_SEED": long})
    assert len(str(caught.value)) < 200


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
        ("9" * 4500, "9" * 4500),
        ("[" * 4500, "[" * 4500),
    ],
)
def test_text_is_read_as_toml_where_it_can_be(text: str, expected: object) -> None:
    assert parse_value(text) == expected
    assert type(parse_value(text)) is type(expected)
