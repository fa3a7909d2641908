from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest

from blemish.runtime.atomic import create_file, is_partial, write_atomically


def test_content_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / ("x" * 255)
    for content in (b"first, longer", b"second"):
        assert write_atomically(target, lambda stream, content=content: stream.write(content)) == target
        assert target.read_bytes() == content
    assert os.listdir(tmp_path) == [target.name]


def test_old_content_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    seen = []

    def writer(stream: BinaryIO) -> None:
        stream.write(b"new")
        stream.flush()
        seen.append(target.read_bytes())
        seen.extend(is_partial(name) for name in os.listdir(tmp_path) if name != "file")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomically(target, writer)
    assert seen == [b"old", True]
    assert os.listdir(tmp_path) == ["file"]
    assert target.read_bytes() == b"old"


def test_links_are_replaced_and_never_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"keep")
    (tmp_path / "link").symlink_to(victim)
    write_atomically(tmp_path / "link", lambda stream: stream.write(b"new"))
    assert victim.read_bytes() == b"keep"
    assert not (tmp_path / "link").is_symlink()
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FileExistsError):
        create_file(tmp_path / "broken")
    assert not (tmp_path / "nowhere").exists()


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        path = write_atomically(tmp_path / "file", lambda stream: stream.write(b""))
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o640


def test_missing_folder_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "missing" / "file", lambda stream: stream.write(b""))


def test_names_of_unfinished_files_are_told_from_others() -> None:
    assert is_partial(".blemish-0123456789abcdef.partial")
    assert not any(
        map(is_partial, [".blemish-.partial", "x.partial", ".blemish-0123456789abcdeX.partial", ".blemish-"])
    )
