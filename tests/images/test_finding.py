from __future__ import annotations

import errno
import os
import socket
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blemish.errors import InputError
from blemish.images import decode, find_images
from blemish.images.finding.listing import describe_passed_over, list_images


def test_images_are_found_in_subfolders_sorted_and_hidden_files_are_left_out(tmp_path):
    names = ["b.png", "a/z.JPG", "a/b/c.tiff", "A.bmp", "ü\n1.webp", "n" * 240 + ".jpeg", "a.tif", "c.PGM", "d.jfif"]
    others = [".hidden.png", ".git/x.png", "notes.txt", "a/labels.csv", "png"]
    for name in names + others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [p.relative_to(tmp_path).as_posix() for p in find_images(tmp_path)] == sorted(names)


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


def drawn(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 24), dtype=np.uint8))


def names(folder: Path, **options) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_images(folder, **options)]


def passed_over(folder: Path) -> dict[str, str]:
    return {one.path: one.reason for one in list_images(folder).passed_over}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP", "WEBP", "GIF", "PPM", "JPEG2000", "AVIF"])
def test_an_image_is_found_by_its_content_without_a_known_suffix(tmp_path, kind):
    for name in ("frame", "frame.0001", "frame.dat"):
        drawn().save(tmp_path / name, kind)
    (tmp_path / "notes.txt").write_text("BM, P5 and PNG are formats")
    (tmp_path / "empty").write_bytes(b"")
    assert names(tmp_path) == ["frame", "frame.0001", "frame.dat"]
    assert passed_over(tmp_path) == {"notes.txt": "not an image", "empty": "not an image"}


def test_hidden_entries_and_special_files_are_passed_over_and_never_opened(tmp_path):
    drawn().save(tmp_path / "a.png")
    drawn().save(tmp_path / ".b.png")
    (tmp_path / ".git").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    os.symlink("/dev/zero", tmp_path / "zero.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "s.png"))
        assert names(tmp_path) == ["a.png"]
        found = passed_over(tmp_path)
    assert {name for name, reason in found.items() if reason == "with a hidden name"} == {".b.png", ".git"}
    special = {name for name, reason in found.items() if reason == "not a regular file"}
    assert special == {"pipe.png", "pipe", "zero.png", "s.png"}


@pytest.mark.parametrize("name", ["mask", "masks", "MASK", "gt", "Ground_Truth", "label", "labels"])
def test_folders_of_masks_are_passed_over_unless_nothing_else_is_there(tmp_path, name):
    for place in ("hole/1.png", f"{name}/hole/1.png", f"hole/{name}/2.png", f"{name}.png"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        drawn().save(tmp_path / place)
    assert names(tmp_path) == sorted([f"{name}.png", "hole/1.png"])
    assert set(passed_over(tmp_path).values()) == {"in a folder of masks"}
    assert names(tmp_path / name) == ["hole/1.png"]
    (tmp_path / "only" / name).mkdir(parents=True)
    drawn().save(tmp_path / "only" / name / "1.png")
    assert names(tmp_path / "only") == [f"{name}/1.png"]


@pytest.mark.parametrize("mark", ["run.json", ".blemish-files"])
def test_results_of_earlier_runs_are_passed_over_wherever_they_are_linked(tmp_path, mark):
    data, results = tmp_path / "data", tmp_path / "results"
    for folder in (data, results / "overlays", data / "old/overlays"):
        folder.mkdir(parents=True)
    (results / mark).write_text('{"schema": "blemish.run"}')
    (data / "old" / mark).write_text('{"schema": "blemish.run"}')
    for path in (data / "a.png", results / "overlays/a.png", data / "old/overlays/a.png"):
        drawn().save(path)
    os.symlink(results, data / "link")
    os.symlink(results / "overlays", data / "inner")
    os.symlink(results / "overlays/a.png", data / "one.png")
    assert names(data) == ["a.png"]
    assert set(passed_over(data)) == {"old", "link", "inner", "one.png"}


def test_a_run_json_of_another_program_hides_nothing(tmp_path):
    (tmp_path / "batch").mkdir()
    (tmp_path / "batch/run.json").write_text('{"schema": "camera"}')
    drawn().save(tmp_path / "batch/a.png")
    assert names(tmp_path) == ["batch/a.png"]


@contextmanager
def nested_folders(folder, name, count):
    """Folders of one name in each other, removed afterwards: they are too deep for pytest to remove."""
    at = os.open(folder, os.O_RDONLY)
    for _ in range(count):
        os.mkdir(name, dir_fd=at)
        at, old = os.open(name, os.O_RDONLY, dir_fd=at), at
        os.close(old)
    try:
        yield
    finally:
        for level in range(count):
            at, old = os.open("..", os.O_RDONLY, dir_fd=at), at
            os.close(old)
            if level < count - 1:  # the outermost may hold a file
                os.rmdir(name, dir_fd=at)
        os.close(at)


def test_1200_nested_folders_are_listed(tmp_path):
    with nested_folders(tmp_path, "d", 1200):
        drawn().save(tmp_path / "d/a.png")
        assert names(tmp_path) == ["d/a.png"]


def test_a_path_that_is_too_long_is_named_with_a_remedy(tmp_path):
    with (
        nested_folders(tmp_path, "d" * 200, 30),
        pytest.raises(InputError, match=r"cannot be listed .* move the images to a shorter path"),
    ):
        find_images(tmp_path)


def test_a_folder_that_may_not_be_entered_is_named(tmp_path, monkeypatch):
    drawn().save(tmp_path / "a.png")
    (tmp_path / "closed").mkdir()
    real = os.scandir

    def scandir(path):
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(InputError, match=r"closed: cannot be listed \(Permission denied\); check its permissions"):
        find_images(tmp_path)


def test_odd_names_are_listed_as_they_are_and_shown_in_one_line(tmp_path):
    odd = [b"caf\xe9.png", b"a.png", b"A.png", b"x\ny.png", b"-rf.png", b"q'\".png", "é.png".encode()]
    for name in odd:
        drawn().save(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)), "PNG")
    (tmp_path / "line\nbreak").write_text("x")
    listing = list_images(tmp_path)
    assert sorted(os.fsencode(path.name) for path in listing.images) == sorted(odd)
    line = describe_passed_over(listing.passed_over)
    assert line == "passed over 1 file: 1 not an image (line\\nbreak)"
