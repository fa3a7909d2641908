from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from blemish.config import BASIC, PAPER, Config, Section, known_keys
from blemish.errors import ConfigError

ROOT = Path(__file__).parents[2]
KEYS = list(known_keys(Config))


def value(config: Config, key: str) -> Any:
    found: Any = config
    for part in key.split("."):
        found = getattr(found, part)
    return found


def flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, one in values.items():
        if isinstance(one, dict):
            yield from flat(one, f"{prefix}{key}.")
        else:
            yield prefix + key, one


def test_every_setting_and_every_section_is_described() -> None:
    assert len(KEYS) > 50
    assert [key for key, text in known_keys(Config).items() if not text] == []
    sections = [field for field in Config.model_fields.values() if isinstance(field.default, Section)]
    assert len(sections) == 10
    assert all(field.description for field in sections)


def test_basic_settings_exist_and_are_few() -> None:
    assert set(BASIC) < set(KEYS)
    assert len(BASIC) == len(set(BASIC)) <= 20


def test_the_documented_tables_are_those_of_the_schema() -> None:
    printed = subprocess.run([sys.executable, ROOT / "scripts/settings"], capture_output=True, text=True, check=True)
    page = (ROOT / "docs/settings.md").read_text(encoding="utf-8")
    stored = page.split("<!-- settings:begin -->\n")[1].split("<!-- settings:end -->")[0]
    assert stored == printed.stdout, "run scripts/settings --write"
    assert [key for key in KEYS if stored.count(f"\n| `{key}` |") != 1] == []


def test_nested_sections_are_reached_by_attribute_and_by_dotted_name() -> None:
    config = Config.from_values(
        {"localization.memory_bank.patches_per_image": 9, "localization": {"vae": {"steps": 5}}}
    )
    assert config.localization.memory_bank.patches_per_image == 9
    assert config.localization.vae.steps == 5
    assert config.localization.memory_bank.outlier_fraction == Config().localization.memory_bank.outlier_fraction


def test_the_paper_preset_has_the_published_values() -> None:
    paper = Config(preset="paper")
    assert [(key, value(paper, key)) for key, _ in flat(PAPER)] == list(flat(PAPER))
    changed = {key for key in KEYS if value(paper, key) != value(Config(), key)}
    assert changed == {"preset", *(key for key, _ in flat(PAPER))}
    assert paper == Config.from_preset("paper")


def test_values_beside_a_preset_replace_single_settings_only() -> None:
    mixed = Config(preset="paper", image={"size": 320}, localization={"vae": {"steps": 7}})  # type: ignore[arg-type]
    assert (mixed.image.size, mixed.image.resize) == (320, "stretch")
    assert (mixed.localization.vae.steps, mixed.localization.method, mixed.localization.zero_border) == (
        7,
        "vae_fca",
        5,
    )


@pytest.mark.parametrize("method", ["vae_fca", "vae_l1", "vae_l2"])
def test_an_autoencoder_refuses_features_that_it_cannot_reproduce(method: str) -> None:
    with pytest.raises(ConfigError, match=f"{method} needs non-negative features.*features.normalization=image"):
        Config.from_values({"localization.method": method})
    with pytest.raises(ValidationError, match="non-negative"):
        Config(localization={"method": method})  # type: ignore[arg-type]
    for remedy in ("image", "none"):
        config = Config.from_values({"localization.method": method, "features.normalization": remedy})
        assert config.localization.method == method


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"image": {"sze": 3}}, ["image.sze", "did you mean 'image.size'"]),
        ({"imge.size": 3}, ["imge.size", "did you mean 'image.size'"]),
        ({"zero_border": 3}, ["'zero_border'", "did you mean 'localization.zero_border'"]),
        ({"localization.memory_bank.patches": 3}, ["did you mean 'localization.memory_bank.patches_per_image'"]),
        ({"zzzz": 1}, ["'zzzz'", "blemish config"]),
        ({"image": 5}, ["'image' is a section", "image.size"]),
        ({"localization.vae": 5}, ["'localization.vae' is a section", "localization.vae.patches_per_image"]),
        ({"image.size": 31}, ["image.size = 31", "32"]),
        ({"image.size": 4097}, ["image.size = 4097", "4096"]),
        ({"features.pool_size": 2}, ["features.pool_size = 2", "odd"]),
        ({"localization.fca.patch_size": 4}, ["localization.fca.patch_size = 4", "odd"]),
        ({"localization.median_windows": [4]}, ["localization.median_windows", "odd"]),
        ({"n_clusters": 0}, ["n_clusters = 0", "auto"]),
        ({"localization.threshold": -1.0}, ["localization.threshold = -1.0", "auto"]),
        ({"seed": True}, ["seed = True", "true or false"]),
        ({"seed": -1}, ["seed = -1"]),
        ({"descriptor.tau": 0}, ["descriptor.tau = 0"]),
        ({"localization.vae.learning_rate": float("nan")}, ["localization.vae.learning_rate", "finite"]),
        ({"preset": "papr"}, ["preset = 'papr'", "paper"]),
        ({"backbone.strides": [3]}, ["backbone.strides", "8"]),
        ({"backbone.strides": []}, ["backbone.strides"]),
        ({"cache.folder": "~no-such-user/x"}, ["cache.folder", "no home folder", "whole path"]),
        ({"cache.folder": "a\0b"}, ["cache.folder", "null character"]),
        ({"image.size": 64, "image": {"size": 65}}, ["'image.size' is given twice"]),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(values: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_values(values, origin="x.toml")
    message = str(caught.value)
    assert message.startswith("x.toml: ")
    assert message.isprintable()
    assert all(word in message for word in words), message


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize(
    "wrong",
    [10**18, -(10**18), 10**5000, float("inf"), float("nan"), "x" * 200_000, [[[[0]]]]],
    ids=["huge", "negative", "digits", "inf", "nan", "text", "nested"],
)
def test_no_setting_accepts_absurd_values_or_repeats_them(key: str, wrong: Any) -> None:
    if key in ("backbone.name", "cache.folder") and isinstance(wrong, int):
        wrong = "x" * 10_000
    with pytest.raises(ConfigError) as caught:
        Config.from_values({key: wrong})
    assert f": {key}" in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("values", [[("seed", 1)], "seed", None, {1, 2}])
def test_settings_that_have_no_names_are_an_error(values: Any) -> None:
    with pytest.raises(ConfigError, match="by name"):
        Config.from_values(values)


CHANGED = {
    "n_clusters": 5,
    "backbone.strides": (8, 16),
    "descriptor.tau": 0.5,
    "localization.threshold": 0.25,
    "localization.memory_bank.density_exponent": 0,
    "localization.median_windows": None,
}


@pytest.mark.parametrize("suffix", ["toml", "yaml"])
@pytest.mark.parametrize("preset", ["default", "paper"])
@pytest.mark.parametrize("changed", [{}, CHANGED, {"descriptor.tau": None, "backbone.name": 'a "b" \U0001f50d\x7f'}])
def test_a_written_file_reads_as_equal_settings(
    tmp_path: Path, suffix: str, preset: str, changed: dict[str, Any]
) -> None:
    config = Config.from_values({"preset": preset, **changed})
    file = tmp_path / f"c.{suffix}"
    text = config.to_toml() if suffix == "toml" else yaml.safe_dump(config.model_dump(mode="json"))
    file.write_text(text, encoding="utf-8")
    again = Config.load(file)
    assert again == config
    assert again.digest() == config.digest()


def test_toml_has_one_table_for_each_section() -> None:
    lines = Config().to_toml().splitlines()
    tables = [line for line in lines if line.startswith("[")]
    assert tables[:3] == ["[image]", "[backbone]", "[features]"]
    assert {"[localization]", "[localization.memory_bank]", "[localization.vae]"} < set(tables)
    assert len(tables) == len(set(tables))
    assert 'n_clusters = "auto"' in lines


@settings(max_examples=60, deadline=None)
@given(
    name=st.text(min_size=1, max_size=40).filter(lambda text: text != "none"),
    folder=st.none() | st.text(st.characters(exclude_characters="\0~"), min_size=1, max_size=40),
    tau=st.none() | st.floats(1e-9, 1e9),
    n_clusters=st.just("auto") | st.integers(1, 10**6),
    kl_weight=st.floats(0, 1e6),
    windows=st.none() | st.lists(st.integers(1, 127).map(lambda half: 2 * half + 1), min_size=1, max_size=5),
)
def test_any_valid_values_survive_a_file(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    folder: str | None,
    tau: float | None,
    n_clusters: int | str,
    kl_weight: float,
    windows: list[int] | None,
) -> None:
    config = Config().updated(
        **{
            "backbone.name": name,
            "cache.folder": None if folder == "none" else folder,
            "descriptor.tau": tau,
            "n_clusters": n_clusters,
            "localization.vae.kl_weight": kl_weight,
            "localization.median_windows": windows,
        }
    )
    file = tmp_path_factory.mktemp("round") / "c.toml"
    file.write_bytes(config.to_toml().encode())
    assert Config.load(file) == config


def test_the_digest_is_the_hash_of_the_sorted_values() -> None:
    config = Config(seed=3)
    values = {key: one for key, one in config.model_dump(mode="json").items() if key not in ("preset", "cache")}
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    assert config.digest() == hashlib.sha256(text.encode()).hexdigest()


def test_equal_values_have_equal_digests_however_they_are_written() -> None:
    assert Config.from_values({"localization.smoothing_sigma": 1}).digest() == Config().digest()
    listed = Config.from_values({"backbone.strides": [8, 16]}).digest()
    assert Config.from_values({"backbone.strides": "16, 8"}).digest() == listed != Config().digest()
    assert Config.from_values(dict(flat(PAPER))).digest() == Config.from_preset("paper").digest()
    digests = {Config.from_values(change).digest() for change in ({}, {"seed": 1}, {"image.size": 64}, CHANGED)}
    assert len(digests) == 4


def test_the_digest_of_a_stage_depends_on_its_sections_only() -> None:
    base, other = Config(), Config().updated(**{"cluster.method": "kmeans", "n_clusters": 3})
    assert base.stage_digest("image", "backbone") == other.stage_digest("backbone", "image")
    assert base.stage_digest("cluster") != other.stage_digest("cluster")
    assert base.stage_digest("image") != base.stage_digest("backbone")


def test_the_digest_of_a_stage_can_leave_out_nested_settings() -> None:
    nested = "localization.memory_bank.density_exponent"
    base, other = Config(), Config().updated(**{nested: 0.5})
    assert base.stage_digest("localization") != other.stage_digest("localization")
    assert base.stage_digest("localization", without=[nested]) == other.stage_digest("localization", without=[nested])


def test_settings_are_frozen_and_checked_in_python_too() -> None:
    config = Config()
    with pytest.raises(ValidationError):
        config.seed = 3  # type: ignore[misc]
    with pytest.raises(ValidationError):
        config.localization.memory_bank.patches_per_image = 3  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Config(sede=3)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"image\.size"):
        config.updated(**{"image.size": 1})


@pytest.mark.parametrize("other", [{"threshold": 0.5}, {"false_alarms": 0.02}])
def test_a_reject_bin_has_no_threshold_of_its_own(other: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"every image is anomalous.*give one of them"):
        Config.from_values(
            {"localization.rejects": True, **{f"localization.{key}": value for key, value in other.items()}}
        )
    assert Config.from_values({"localization.rejects": True}).localization.rejects
