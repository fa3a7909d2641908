from __future__ import annotations

import os
import time
from pathlib import Path

from blemish.model.watch import Watcher, watch


def test_a_file_is_given_once_it_has_not_changed_between_two_looks(tmp_path: Path) -> None:
    watcher, path = Watcher(tmp_path, settle=0.0), tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n half")
    assert watcher.ready() == []
    path.write_bytes(b"\x89PNG\r\n\x1a\n half and more")
    assert watcher.ready() == []
    assert watcher.ready() == [path]
    assert watcher.ready() == []


def test_files_that_settle_too_late_are_waited_for(tmp_path: Path) -> None:
    watcher, path = Watcher(tmp_path, settle=0.2), tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    watcher.ready()
    assert watcher.ready() == []
    time.sleep(0.25)
    assert watcher.ready() == [path]


def test_empty_files_other_files_and_known_ones_are_not_given(tmp_path: Path) -> None:
    watcher = Watcher(tmp_path, settle=0.0, known=frozenset({"sub/old.png"}))
    (tmp_path / "sub").mkdir()
    for name in ("sub/old.png", "sub/new.png"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "empty.png").touch()
    (tmp_path / "notes.txt").write_text("no image")
    found = [path for _ in range(3) for path in watcher.ready()]
    assert found == [tmp_path / "sub" / "new.png"]


def test_the_oldest_come_first_and_a_file_that_is_moved_away_is_forgotten(tmp_path: Path) -> None:
    watcher = Watcher(tmp_path, settle=0.0)
    for place, name in enumerate(("c.png", "a.png", "b.png")):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n")
        os.utime(tmp_path / name, (1000 + place, 1000 + place))
    watcher.ready()
    (tmp_path / "a.png").unlink()
    assert [path.name for path in watcher.ready()] == ["c.png", "b.png"]


def test_an_empty_folder_is_waited_on_until_it_has_been_idle_for_long(tmp_path: Path) -> None:
    waits: list[float] = []
    assert (
        list(watch(Watcher(tmp_path), idle=0.05, sleep=lambda seconds: (waits.append(seconds), time.sleep(0.01)))) == []
    )  # type: ignore[func-returns-value]
    assert waits
