from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from blemish.config.schema import Config
from blemish.runtime.cache import Cache, open_cache
from blemish.runtime.digests import digest
from blemish.runtime.serialization import to_bytes

KEY, OTHER = digest("one"), digest("other")


def entry(folder: Path, key: str = KEY, kind: str = "maps") -> Path:
    return folder / f"{kind}-{key}.safetensors"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_value_is_found_under_its_kind_and_key_only(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10**6)
    cache.put("maps", KEY, [1, 2])
    assert cache.has("maps", KEY)
    assert not cache.has("maps", OTHER)
    assert cache.get("maps", KEY) == [1, 2]
    assert cache.get("maps", OTHER) is None
    assert cache.get("heads", KEY) is None
    assert Cache(tmp_path, 10**6).get("maps", KEY) == [1, 2]
    assert cache.report() == {"maps": [1, 2], "heads": [0, 1]}


def test_once_computes_a_value_the_first_time_only(tmp_path: Path) -> None:
    cache, calls = Cache(tmp_path, 10**6), list[int]()
    for _ in range(3):
        assert cache.once("heads", lambda: KEY, lambda: calls.append(1) or [5]) == [5]
    assert calls == [1]


def test_without_a_folder_nothing_is_stored_and_no_key_is_computed() -> None:
    cache = Cache(None, 10**6)

    def key() -> str:
        raise AssertionError("computed")

    assert cache.once("heads", key, lambda: 3) == 3
    assert cache.get("maps", KEY) is None
    assert not cache.has("maps", KEY)
    assert cache.report() == {}


def test_settings_choose_the_folder(tmp_path: Path) -> None:
    settings = Config.from_values({"cache.folder": str(tmp_path / "a" / "b"), "cache.limit_mb": 3}).cache
    cache = open_cache(settings)
    assert cache.folder == tmp_path / "a" / "b"
    assert cache.limit == 3_000_000
    assert not open_cache(settings.model_copy(update={"enabled": False})).active


def test_contents_of_swapped_entries_are_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache(tmp_path, 10**6)
    cache.put("maps", KEY, [1])
    cache.put("maps", OTHER, [2])
    third = entry(tmp_path).rename(tmp_path / "third")
    entry(tmp_path, OTHER).rename(entry(tmp_path))
    third.rename(entry(tmp_path, OTHER))
    assert cache.get("maps", KEY) is None
    assert cache.get("maps", OTHER) is None
    assert names(tmp_path) == []
    assert len(caplog.records) == 1
    assert "another name" in caplog.text


def test_an_entry_of_another_kind_is_not_used(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10**6)
    cache.put("descriptors", KEY, [1])
    entry(tmp_path, kind="descriptors").rename(entry(tmp_path))
    assert cache.get("maps", KEY) is None


def test_a_value_that_the_caller_refuses_is_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache(tmp_path, 10**6)
    cache.put("maps", KEY, [-1])
    assert cache.get("maps", KEY, lambda value: value[0] >= 0) is None
    assert not cache.has("maps", KEY)
    assert cache.once("maps", lambda: KEY, lambda: [1], lambda value: value[0] >= 0) == [1]
    assert cache.get("maps", KEY, lambda value: value[0] >= 0) == [1]
    assert len(caplog.records) == 1


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"foreign", b"\xff" * 64, to_bytes([1], "elsewhere")])
def test_foreign_content_counts_as_absent(tmp_path: Path, content: bytes) -> None:
    entry(tmp_path).write_bytes(content)
    cache = Cache(tmp_path, 10**6)
    assert cache.get("maps", KEY) is None
    cache.put("maps", KEY, [1])
    assert cache.get("maps", KEY) == [1]


def make_link(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_bytes(to_bytes([7], path.stem))
    path.symlink_to(victim)


@pytest.mark.parametrize(
    "make",
    [os.mkfifo, Path.mkdir, make_link, lambda path: path.symlink_to("/dev/zero"), lambda path: path.symlink_to(path)],
    ids=["fifo", "folder", "link", "device", "loop"],
)
def test_only_regular_files_are_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = entry(tmp_path)
    make(path)
    victim = (tmp_path / "victim").read_bytes() if (tmp_path / "victim").exists() else None
    before = os.lstat(path)
    cache = Cache(tmp_path, 10**6)
    start = time.perf_counter()
    assert not cache.has("maps", KEY)
    assert cache.get("maps", KEY) is None
    assert time.perf_counter() - start < 5
    assert os.path.samestat(os.lstat(path), before)  # it may belong to somebody
    cache.put("maps", KEY, [1])
    assert cache.get("maps", KEY) == (None if path.is_dir() else [1])
    if victim is not None:
        assert (tmp_path / "victim").read_bytes() == victim


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with entry(tmp_path).open("wb") as sparse:
        sparse.truncate(2**40)
    cache = Cache(tmp_path, 10**6)
    assert cache.get("maps", KEY) is None
    assert names(tmp_path) == []


def test_an_entry_larger_than_the_limit_is_not_stored_and_removes_no_other(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 5000)
    cache.put("maps", KEY, [1])
    cache.put("maps", OTHER, np.zeros(5000, np.uint8))
    assert names(tmp_path) == [entry(tmp_path).name]


@pytest.mark.skipif(os.name != "posix", reason="permission bits")
def test_a_new_folder_is_closed_to_others_and_an_old_one_keeps_its_permissions(tmp_path: Path) -> None:
    Cache(tmp_path / "new", 10**6)
    (tmp_path / "old").mkdir(mode=0o755)
    Cache(tmp_path / "old", 10**6)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "old").stat().st_mode & 0o777 == 0o755
    assert names(tmp_path / "new") == []


def test_a_folder_that_vanishes_ends_the_storing_with_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = Cache(tmp_path / "cache", 10**6)
    (tmp_path / "cache").rmdir()
    cache.put("maps", KEY, [1])
    cache.put("maps", OTHER, [1])
    assert cache.get("maps", KEY) is None
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert not (tmp_path / "cache").exists()


def test_names_in_the_log_have_no_control_characters(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a\x1b[31m\n").write_text("")
    Cache(tmp_path / "a\x1b[31m\n", 10**6)
    assert "\\x1b" in caplog.text
    assert "\x1b" not in caplog.text


def test_entries_from_before_the_clock_was_set_back_are_removed_first(tmp_path: Path) -> None:
    cache, ahead = Cache(tmp_path, 3000), time.time() + 10**6
    cache.put("maps", KEY, np.zeros(1000, np.uint8))
    os.utime(entry(tmp_path), (ahead, ahead))
    for number in range(2):
        cache.put("maps", digest(number), np.zeros(1000, np.uint8))
    assert not cache.has("maps", KEY)
    assert cache.has("maps", digest(1))


def test_unfinished_files_of_killed_runs_are_removed_after_a_while(tmp_path: Path) -> None:
    old, future, fresh = (tmp_path / f".blemish-{digit * 16}.partial" for digit in "0af")
    for path in (old, future, fresh):
        path.write_text("half")
    os.utime(old, (1, 1))
    os.utime(future, (time.time() + 10**6,) * 2)
    Cache(tmp_path, 10**6).put("maps", KEY, [1])
    assert names(tmp_path) == [fresh.name, entry(tmp_path).name]


def test_foreign_files_are_left_alone_and_the_limit_holds(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 20_000)
    (tmp_path / "mine.txt").write_text("x" * 50_000)
    cache.put("features", digest("bulky"), np.zeros(500, np.float32))
    keys = [digest(number) for number in range(30)]
    for number, key in enumerate(keys):
        cache.put("maps", key, np.full(250, number, np.float32))
        os.utime(tmp_path / f"maps-{key}.safetensors", (1e9 + number, 1e9 + number))
        if number >= 1:
            assert cache.get("maps", keys[0]) is not None  # in use: stays
    assert sum(path.stat().st_size for path in tmp_path.glob("*.safetensors")) <= 20_000
    assert not list(tmp_path.glob("features-*"))
    present = [cache.get("maps", key) is not None for key in keys]
    assert 5 < sum(present) < 30
    assert present[0]
    assert all(present[present.index(False, 1) + present[1:].count(False) :])  # the oldest are gone, in order
    assert (tmp_path / "mine.txt").exists()
