"""The file ``review.jsonl``: operations are only ever appended, and one is in the file before anybody is told so.

A line is written by one process at a time, under a lock, and forced to the disk. A process that is killed while it
writes leaves at most a last line without an end, which nobody was told is saved; the next process removes it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from blemish.errors import InputError, OutputError, shown
from blemish.output.claims import explain_os_errors, short
from blemish.review.operations import Operation, Start, parse_line, to_line
from blemish.runtime.files import read_regular
from blemish.runtime.lock import FolderLock, FolderLocked

REVIEW_FILE = "review.jsonl"
REVIEW_LOCK = ".blemish-review-lock"

MAX_LOG_BYTES = 2**30
"""Size up to which a log is read."""

WAIT_SECONDS = 10.0
"""How long a process waits for another one that is saving; saving takes milliseconds."""


class DamagedLog(InputError):
    """A log that cannot be read to its end; nothing is appended to it."""


@dataclass
class Segment:
    """Operations on one grouping.

    Attributes:
        start: the grouping; None for a file that holds operations alone, as the page saves it.
        operations: in the order of the file, each id once.
    """

    start: Start | None
    operations: list[Operation] = field(default_factory=list)


@dataclass
class Log:
    """The content of a log.

    Attributes:
        segments: one for each grouping that was reviewed, the latest last; empty for an empty log.
        damaged_end: whether the last line is incomplete, because a process was killed while it wrote.
    """

    segments: list[Segment] = field(default_factory=list)
    damaged_end: bool = False

    @property
    def ids(self) -> set[str]:
        """The ids of all operations."""
        return {one.id for segment in self.segments for one in segment.operations}


def read_log(path: Path) -> Log:
    """Read a log, or the file that the page saves.

    Raises:
        DamagedLog: a line other than the last one is damaged (the message has its number), or the file cannot be read.
    """
    return parse_log(_read(path), path)


def parse_log(content: bytes, path: Path) -> Log:
    """The log from its bytes; ``path`` is for messages."""
    log, seen = Log(), set[str]()
    lines = content.split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            one = parse_line(line)
        except InputError as error:
            if number == len(lines):  # without a line feed at its end: nobody was told that it is saved
                log.damaged_end = True
                break
            raise DamagedLog(f"{short(path)}: line {number}: {error}; restore the file from a copy") from None
        if isinstance(one, Start):
            log.segments.append(Segment(one))
        elif one.id not in seen:
            seen.add(one.id)
            if not log.segments:
                log.segments.append(Segment(None))
            log.segments[-1].operations.append(one)
    return log


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, MAX_LOG_BYTES)
    except OSError as error:
        raise DamagedLog(f"{short(path)}: cannot be read ({error.strerror}); check the path") from error


class ReviewLog:
    """The log of one folder of results, for any number of threads and processes.

    Args:
        folder: the folder of results.
        start: the grouping that new operations speak of. It is written into the log before the first of them, unless
            the log already ends with operations on the same grouping.
    """

    def __init__(self, folder: Path, start: Start) -> None:
        self.folder, self.path, self.start = folder, folder / REVIEW_FILE, start
        self._known: tuple[tuple[int, ...], Log] | None = None  # identity and content of the file when last seen

    def read(self) -> Log:
        """The content of the log; an empty one if there is no file. A file that is as last seen is not read again.

        Raises:
            DamagedLog: the file is damaged or is something else than a file.
        """
        known = self._known
        if known is not None and known[0] == self._identity():
            return known[1]
        identity, log = self._identity(), parse_log(self._content(), self.path)
        self._known = (identity, log)
        return log

    def _identity(self) -> tuple[int, ...]:
        try:
            status = os.lstat(self.path)
        except OSError:
            return ()
        return status.st_ino, status.st_size, status.st_mtime_ns

    def operations(self) -> list[Operation]:
        """The operations on the present grouping."""
        return self._current(self.read())

    def _current(self, log: Log) -> list[Operation]:
        return log.segments[-1].operations if self._continues(log) else []

    def _continues(self, log: Log) -> bool:
        """Whether the log ends with operations on the present grouping."""
        start = log.segments[-1].start if log.segments else None
        return start is not None and same_groups(start, self.start)

    @contextmanager
    def writing(self) -> Iterator[LogWriter]:
        """The log, locked: nobody else writes while the block runs.

        Raises:
            OutputError: another process holds the lock for longer than ``WAIT_SECONDS``, or the system refused.
            DamagedLog: the log is damaged.
        """
        with explain_os_errors(self.path):
            lock = _wait_for_lock(self.folder)
        try:
            yield LogWriter(self, self.read())
        finally:
            lock.release()

    def _content(self) -> bytes:
        if self.path.is_symlink():
            raise DamagedLog(f"{short(self.path)}: is a link; move it away")
        return _read(self.path) if os.path.lexists(self.path) else b""


class LogWriter:
    """A locked log; :meth:`ReviewLog.writing` makes it.

    Attributes:
        ids: of all operations in the log.
        operations: those on the present grouping.
    """

    def __init__(self, log: ReviewLog, content: Log) -> None:
        self._log, self._content = log, content
        self.ids, self.operations = content.ids, list(log._current(content))

    def append(self, operations: Sequence[Operation]) -> None:
        """Append operations whose ids are new; they are on the disk when this returns.

        Raises:
            OutputError: the system refused; the log is as it was.
        """
        new = [one for one in operations if one.id not in self.ids]
        if not new:
            return
        start = [] if self._log._continues(self._content) else [self._log.start]
        self._log._known = None
        with explain_os_errors(self._log.path):
            _append(self._log.path, b"".join(map(to_line, [*start, *new])))
        segments = self._content.segments
        kept = segments if not start else [*segments, Segment(self._log.start)]
        kept[-1] = Segment(kept[-1].start, [*kept[-1].operations, *new])
        self._content = Log(kept)
        self._log._known = (self._log._identity(), self._content)
        self.operations += new
        self.ids |= {one.id for one in new}


def same_groups(one: Start, other: Start) -> bool:
    """Whether two groupings have the same images in the same groups."""
    return (one.paths, one.labels, one.normal) == (other.paths, other.labels, other.normal)


def _wait_for_lock(folder: Path) -> FolderLock:
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return FolderLock(folder, REVIEW_LOCK)
        except FolderLocked as error:
            if time.monotonic() > end:
                raise OutputError(
                    f"{short(folder)}: the review is being saved by {shown(error.holder)}; end it and try again"
                ) from error
        time.sleep(0.002)


def _append(path: Path, lines: bytes) -> None:
    """Append whole lines and force them to the disk; if that fails, the file is as long as it was."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    is_new = not os.path.lexists(path)
    file = os.open(path, flags, 0o666)
    try:
        size = _complete_size(file)
        try:
            rest = memoryview(lines)
            while rest:
                rest = rest[os.write(file, rest) :]
            os.fsync(file)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(file, size)
            raise
    finally:
        os.close(file)
    if is_new and hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the name of the file too
        finally:
            os.close(folder)


def _complete_size(file: int) -> int:
    """Size of the file up to its last complete line. An incomplete one is completed if it can be read, or else removed."""
    size = os.fstat(file).st_size
    os.lseek(file, max(size - 1, 0), os.SEEK_SET)
    if os.read(file, 1) in (b"\n", b""):
        return size
    os.lseek(file, 0, os.SEEK_SET)
    with open(file, "rb", closefd=False) as stream:
        content = stream.read(size)
    end = content.rfind(b"\n") + 1
    try:
        parse_line(content[end:])
    except InputError:
        os.ftruncate(file, end)
        return end
    os.write(file, b"\n")
    return size + 1
