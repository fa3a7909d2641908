from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from blemish.errors import InputError, OutputError
from blemish.review import log as log_module
from blemish.review.log import REVIEW_FILE, REVIEW_LOCK, ReviewLog, read_log
from blemish.review.operations import Start, parse_line
from blemish.runtime.lock import FolderLock
from helpers.reviews import as_json, operation

WRITER = """
import sys, uuid
from pathlib import Path
from blemish.review.log import ReviewLog
from blemish.review.operations import Start, parse_operation
start = Start(id=str(uuid.UUID(int=0)), time="2031-05-06T07:08:09Z", op="start", paths=["0.png"], labels=[0], normal=0)
log = ReviewLog(Path(sys.argv[1]), start)
while True:
    one = str(uuid.uuid4())
    line = '{"id": "%s", "time": "2031-05-06T07:08:09Z", "op": "rename", "type": 0, "name": "%s"}' % (one, "x" * 200)
    with log.writing() as writer:
        writer.append([parse_operation(line)])
    print(one, flush=True)
"""


def start(labels: tuple[int, ...] = (0, 1, 1)) -> Start:
    paths = [f"{i}.png" for i in range(len(labels))]
    found = parse_line(as_json("start", number=0, paths=paths, labels=labels, normal=0))
    assert isinstance(found, Start)
    return found


def append(log: ReviewLog, *operations: object) -> None:
    with log.writing() as writer:
        writer.append(operations)  # type: ignore[arg-type]


def test_operations_are_read_back_in_order_and_once(tmp_path: Path) -> None:
    log, other = ReviewLog(tmp_path, start()), ReviewLog(tmp_path, start())
    first, second = operation("rename", type=1, name="x"), operation("normal", images=["1.png"])
    append(log, first)
    append(other, first, second)
    append(log, second)
    assert log.operations() == other.operations() == [first, second]
    assert len((tmp_path / REVIEW_FILE).read_bytes().splitlines()) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [REVIEW_FILE]


def test_other_groups_begin_a_new_part_and_lose_nothing(tmp_path: Path) -> None:
    first, second = operation("rename", type=1, name="x"), operation("rename", type=1, name="y")
    append(ReviewLog(tmp_path, start()), first)
    log = ReviewLog(tmp_path, start((0, 1, 2)))
    assert log.operations() == []
    append(log, second)
    assert log.operations() == [second]
    assert [segment.operations for segment in read_log(tmp_path / REVIEW_FILE).segments] == [[first], [second]]


@pytest.mark.parametrize("end", [b'{"id": "half', b"\0\0\0", b'{"id": "', b"\xff"])
def test_a_last_line_that_was_cut_is_ignored_said_and_replaced(tmp_path: Path, end: bytes) -> None:
    log, path = ReviewLog(tmp_path, start()), tmp_path / REVIEW_FILE
    first, second = operation("rename", type=1, name="x"), operation("rename", type=1, name="y")
    append(log, first)
    path.write_bytes(path.read_bytes() + end)
    assert log.read().damaged_end
    append(log, second)
    assert not log.read().damaged_end
    assert read_log(path).segments[0].operations == [first, second]


def test_a_last_line_that_only_lacks_its_end_is_kept(tmp_path: Path) -> None:
    log, path = ReviewLog(tmp_path, start()), tmp_path / REVIEW_FILE
    first, second = operation("rename", type=1, name="x"), operation("rename", type=1, name="y")
    append(log, first)
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    append(log, second)
    assert log.operations() == read_log(path).segments[0].operations == [first, second]


@pytest.mark.parametrize("line", [b"{}", b"half", b'{"op": "start"}'])
def test_any_other_damaged_line_is_an_error_with_its_number(tmp_path: Path, line: bytes) -> None:
    log, path = ReviewLog(tmp_path, start()), tmp_path / REVIEW_FILE
    append(log, operation("rename", type=1, name="x"))
    before = path.read_bytes() + line + b"\n" + as_json("rename", type=1, name="y").encode() + b"\n"
    path.write_bytes(before)
    for attempt in (log.read, lambda: append(log, operation("rename", type=1, name="z"))):
        with pytest.raises(InputError, match=r"review\.jsonl: line 3: .*restore"):
            attempt()
    assert path.read_bytes() == before


def test_a_link_is_neither_read_nor_written(tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.write_text("mine")
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / REVIEW_FILE).symlink_to(target)
    with pytest.raises(InputError, match="is a link"):
        append(ReviewLog(folder, start()), operation("rename", type=1, name="x"))
    assert target.read_text() == "mine"


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, path = ReviewLog(tmp_path, start()), tmp_path / REVIEW_FILE
    append(log, operation("rename", type=1, name="x"))
    before = path.read_bytes()

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(log_module.os, "fsync", refuse)
        with pytest.raises(OutputError, match="free some space"):
            append(log, operation("rename", type=1, name="y"))
    assert path.read_bytes() == before
    assert len(log.operations()) == 1


def test_who_waits_too_long_for_another_process_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_module, "WAIT_SECONDS", 0.05)
    lock = FolderLock(tmp_path, REVIEW_LOCK)
    with pytest.raises(OutputError, match=f"saved by process {os.getpid()}"):
        append(ReviewLog(tmp_path, start()), operation("rename", type=1, name="x"))
    lock.release()


def test_threads_lose_nothing(tmp_path: Path) -> None:
    log = ReviewLog(tmp_path, start())
    operations = [operation("rename", type=1, name=str(i)) for i in range(60)]
    threads = [
        threading.Thread(target=lambda part=operations[i::4]: [append(log, one) for one in part]) for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {one.id for one in ReviewLog(tmp_path, start()).operations()} == {one.id for one in operations}


def test_two_processes_and_a_kill_lose_nothing_that_was_confirmed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE)
    log, path, end = ReviewLog(tmp_path, start((0,))), tmp_path / REVIEW_FILE, time.monotonic() + 60
    own: list[str] = []
    while time.monotonic() < end and (len(own) < 6 or len(log.read().ids) < len(own) + 40):
        if path.exists():  # the other process has begun
            one = operation("rename", type=0, name="own")
            append(log, one)
            own.append(one.id)
        time.sleep(0.001)
    writer.send_signal(signal.SIGKILL)
    confirmed = [line for line in writer.communicate()[0].decode().split("\n") if len(line) == 36]
    assert writer.returncode == -signal.SIGKILL
    assert len(own) > 5
    assert len(confirmed) >= 39
    assert {*confirmed, *own} <= read_log(path).ids
    append(log, operation("rename", type=0, name="after"))
    assert {*confirmed, *own} < read_log(path).ids
    assert len(read_log(path).segments) == 1
