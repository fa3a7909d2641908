"""Images as they appear in a folder: which files are new, and complete."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from blemish.errors import InputError
from blemish.images import find_images

State = tuple[int, int, int]
"""Size, time of the last change, and inode of a file."""


class Watcher:
    """Finds the files that have come into a folder and that nobody is writing any more.

    A file counts as complete once two looks find it unchanged, at least ``settle`` seconds apart and at least that long
    after its last change. A camera that moves complete files into the folder, or renames them there, is served as well.

    Args:
        folder: the folder; subfolders are looked into.
        settle: seconds for which a file must stay as it is. A larger value is safer with slow writers and later.
        known: files that count as seen, by path relative to the folder.
    """

    def __init__(self, folder: Path, settle: float = 0.5, known: frozenset[str] = frozenset()) -> None:
        self.folder, self.settle = folder, settle
        self._seen = set(known)
        self._pending: dict[Path, tuple[State, float]] = {}

    def ready(self) -> list[Path]:
        """The files that are complete since the last look, the oldest change first; each is given once."""
        now, complete = time.monotonic(), list[tuple[int, Path]]()
        found = {path for path in self._images() if self._name(path) not in self._seen}
        self._pending = {path: known for path, known in self._pending.items() if path in found}
        for path in found:
            try:
                status = path.stat()
            except OSError:
                continue  # moved away again
            state = status.st_size, status.st_mtime_ns, status.st_ino
            known = self._pending.get(path)
            if known is None or known[0] != state:
                self._pending[path] = state, now
            elif now - known[1] >= self.settle and status.st_size:
                complete.append((status.st_mtime_ns, path))
        for _, path in complete:
            del self._pending[path]
            self._seen.add(self._name(path))
        return [path for _, path in sorted(complete)]

    def _images(self) -> list[Path]:
        try:
            return find_images(self.folder)
        except InputError:
            return []  # nothing has come yet

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def watch(
    watcher: Watcher, *, idle: float | None = None, interval: float = 0.1, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Path]:
    """Yield files as they become complete.

    Args:
        watcher: looks into the folder.
        idle: end once no file has come for so many seconds; None: never.
        interval: seconds between two looks.
        sleep: waits.
    """
    last = time.monotonic()
    while idle is None or time.monotonic() - last < idle:
        for path in watcher.ready():
            yield path
            last = time.monotonic()
        sleep(interval)
