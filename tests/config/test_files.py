"""Settings files that are not what they should be: one line that names the file, soon and in little memory."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from blemish.config import Config
from blemish.errors import ConfigError

ALIASES = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


def refusal(path: Path) -> str:
    start = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        Config.load(path)
    message = str(caught.value)
    assert time.monotonic() - start < 10
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    assert len(message) < len(str(path)) + 300
    return message


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.toml", b"size = = 3", "not valid TOML"),
        ("a.toml", b"seed = 1\nseed = 2", "not valid TOML"),
        ("a.toml", b"seed = " + b"9" * 4800, "too many digits"),
        ("a.toml", b"a = " + b"[" * 4800, "nested too deeply"),
        ("a.toml", b"a." * 15_000 + b"b = 1", "line of more than 5000 characters"),
        ("a.toml", b"a." * 2000 + b"b = 1", "unknown setting 'a'"),
        ("a.toml", b'"\\u001b[31m" = 1', "unknown setting"),
        ("a.toml", b"image.size = 1e400", "image.size = inf"),
        ("a.toml", b"\xff\xfe", "UTF-8"),
        ("a.toml", b"#" * 1_000_001, "larger than"),
        ("a.yaml", b"a: [1", "not valid YAML"),
        ("a.yaml", b"seed: 2024-13-45", "not valid YAML"),
        ("a.yaml", b"!!python/object/apply:os.getcwd []", "not valid YAML"),
        ("a.yaml", b"seed: 1\n---\nseed: 2", "not valid YAML"),
        ("a.yaml", b"seed: 1\nimage: {size: 64}\nseed: 2", "'seed' is given twice"),
        ("a.yaml", b"image: {size: 64, size: 65}", "'size' is given twice"),
        ("a.yaml", b"image: {size: 64}\nimage.size: 65", "'image.size' is given twice"),
        ("a.yaml", ALIASES.encode(), "alias"),
        ("a.yaml", b"seed: " + b"9" * 5000, "too many digits"),
        ("a.yaml", b"seed: 0x" + b"f" * 5000, "less than or equal"),
        ("a.yaml", b"a: " + b"[" * 60_000, "levels of nesting"),
        ("a.yaml", b"a: " + b"{a: " * 15_000, "levels of nesting"),
        ("a.yaml", b"? [a, b]\n: 1", "not valid YAML"),
        ("a.yaml", b"seed: .inf", "finite"),
        ("a.yaml", b"device: " + b"x" * 60_000, "device: must be"),
        ("a.yaml", b"seed: !!set {a, b}", "seed"),
        ("a.yml", b"- 1\n- 2\n", "no named settings"),
        ("a.yml", b"7", "no named settings"),
        ("a.yml", b"\n" * 1_000_001, "larger than"),
        ("a.ini", b"", ".toml"),
    ],
    ids=lambda part: part[:40] if isinstance(part, bytes) else part,
)
def test_a_file_that_holds_no_valid_settings(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert words in refusal(tmp_path / name)


@pytest.mark.parametrize("suffix", [".toml", ".yaml"])
def test_a_path_that_is_no_regular_file(tmp_path: Path, suffix: str) -> None:
    os.mkfifo(tmp_path / f"pipe{suffix}")
    assert "not a regular file" in refusal(tmp_path / f"pipe{suffix}")
    (tmp_path / f"device{suffix}").symlink_to("/dev/zero")
    assert "not a regular file" in refusal(tmp_path / f"device{suffix}")
    (tmp_path / f"folder{suffix}").mkdir()
    assert "cannot be read" in refusal(tmp_path / f"folder{suffix}")
    assert "cannot be read" in refusal(tmp_path / f"missing{suffix}")
    (tmp_path / f"loop{suffix}").symlink_to(tmp_path / f"loop{suffix}")
    assert "cannot be read" in refusal(tmp_path / f"loop{suffix}")


def test_odd_paths_are_shown_on_one_line(tmp_path: Path) -> None:
    for name in ("a\nb\x1b[31m.toml", "a\0b.toml", "\udcff.toml"):
        with pytest.raises(ConfigError) as caught:
            Config.load(tmp_path / name)
        assert str(caught.value).isprintable()


def test_empty_files_are_the_defaults(tmp_path: Path) -> None:
    for name in ("c.yml", "c.yaml", "c.toml", "C.TOML"):
        (tmp_path / name).write_text("# nothing\n")
        assert Config.load(tmp_path / name) == Config()


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    for name, text in (("c.yaml", "seed: 3"), ("c.toml", "seed = 3")):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert Config.load(tmp_path / name).seed == 3
