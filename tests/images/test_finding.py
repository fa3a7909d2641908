from __future__ import annotations

import os

import pytest

from blemish.errors import InputError
from blemish.images import (
    IMAGE_SUFFIXES,
    decode,
    find_images,
)


def test_images_are_found_in_subfolders_sorted_and_hidden_files_are_left_out(tmp_path):
    names = ["b.png", "a/z.JPG", "a/b/c.tiff", "A.bmp", "ü\n1.webp", "n" * 240 + ".jpeg", "a.tif"]
    others = [".hidden.png", ".git/x.png", "notes.txt", "a/labels.csv", "png"]
    for name in names + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [p.relative_to(tmp_path).as_posix() for p in find_images(tmp_path)] == sorted(names)
    assert {p.suffix.lower() for p in find_images(tmp_path)} == set(IMAGE_SUFFIXES)


def test_linked_folders_are_entered_once_and_loops_end(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/1.png").write_bytes(b"x")
    elsewhere = tmp_path.parent / (tmp_path.name + "-elsewhere")
    elsewhere.mkdir()
    (elsewhere / "2.png").write_bytes(b"x")
    os.symlink(tmp_path, tmp_path / "real/loop")
    os.symlink(tmp_path / "real", tmp_path / "again")
    os.symlink(elsewhere, tmp_path / "linked")
    os.symlink("nowhere.png", tmp_path / "broken.png")
    os.symlink("self.png", tmp_path / "self.png")
    found = [p.relative_to(tmp_path).as_posix() for p in find_images(tmp_path)]
    assert found == ["broken.png", "linked/2.png", "real/1.png", "self.png"]
    with pytest.raises(InputError, match=r"broken.png: no such file"):
        decode(tmp_path / "broken.png")
    with pytest.raises(InputError, match=r"self.png"):
        decode(tmp_path / "self.png")


def test_excluded_folders_are_left_out(tmp_path):
    for name in ("1.png", "out/2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert find_images(tmp_path, exclude=[tmp_path / "out"]) == [tmp_path / "1.png"]


def test_an_unusable_folder_is_named_with_the_reason(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        find_images(tmp_path / "missing")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        find_images(tmp_path / "a.txt")
    with pytest.raises(InputError, match=r"no images found \(1 other files seen\).*\.png.*\.webp") as caught:
        find_images(tmp_path)
    assert "\n" not in str(caught.value)
