"""Stored results of earlier runs. The key of each is a digest of everything that decides it.

An entry is one file, ``KIND-DIGEST.safetensors``, which appears whole or not at all. It carries a checksum and its own
name, so an entry that is damaged, or that lies under the name of another one, counts as absent. Several runs can use the
folder at the same time, because each only adds complete files and removes old ones. If the folder cannot be used, the run
continues without it and says so once.

The checksum has no secret: whoever can write to the folder can store a wrong result, but no code.
"""

from __future__ import annotations

import logging
import os
import re
import stat
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from blemish.config.sections import Cache as CacheSettings
from blemish.errors import shown
from blemish.runtime.atomic import is_partial, write_atomically

_log = logging.getLogger(__name__)
_ENTRY = re.compile(r"[a-z]+-[0-9a-f]{64}\.safetensors")
_STALE = 3600.0
"""Seconds after which an unfinished file is taken to be left over from a killed run."""

_CLOCK_SKEW = 60.0
"""Seconds by which a file may be newer than now, because clocks of a network differ. Beyond it, the clock was set back."""

_LONGEST_REASON = 120
"""Characters of a reason in the log, which may repeat text of a foreign file."""

MAX_ENTRY_BYTES = 2**31
"""A larger file is neither written nor read, whatever the limit of the folder."""

BULKY = frozenset({"features", "pixels"})
"""Kinds of entries that are removed first, because they are large and quick to compute again."""


def default_folder() -> Path:
    """The cache folder of this user."""
    from platformdirs import user_cache_path

    return user_cache_path("blemish", appauthor=False)


class Cache:
    """Entries in a folder, or none at all.

    Args:
        folder: created for this user alone if it does not exist; None stores nothing.
        limit: size limit in bytes; beyond it, the entries that were unused for the longest time are removed.
        classes: the classes that entries may contain besides plain values, see :mod:`blemish.runtime.serialization`.

    Attributes:
        active: whether entries are read.
        writable: whether entries are written, too.
        asked: kind -> number of entries that were looked up.
        found: kind -> number of them that were there.
    """

    def __init__(self, folder: Path | None, limit: int, classes: Collection[type] = ()) -> None:
        self.folder, self.limit, self.classes = folder, limit, tuple(classes)
        self.active = self.writable = folder is not None
        self.asked: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self._size: int | None = None
        self._told = False
        if folder is None:
            return
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            self.active = False
            self._stop_writing(error)
            return
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            self._stop_writing(error)

    def has(self, kind: str, key: str) -> bool:
        """Whether there is a file for that key, usable or not."""
        try:
            return self.active and stat.S_ISREG(self._path(kind, key).lstat().st_mode)
        except OSError:
            return False

    def get(self, kind: str, key: str, valid: Callable[[Any], bool] | None = None) -> Any | None:
        """The value stored under a key; None if there is none.

        An entry that is damaged, that belongs to another key, or that ``valid`` refuses is removed; a file that is not a
        regular one is left alone. The log names the first of them, and the value is None.

        Args:
            kind: of the entry.
            key: of the entry.
            valid: whether a value has the type and the shape that the caller expects.
        """
        if not self.active:
            return None
        from blemish.runtime.serialization import UnreadableEntry, from_bytes

        path = self._path(kind, key)
        self.asked[kind] += 1
        try:
            value = from_bytes(_content(path), self.classes, path.stem)
            if valid is not None and not valid(value):
                raise UnreadableEntry("its values are not those of such an entry")
        except OSError:
            return None
        except UnreadableEntry as error:
            self._doubt(path, str(error))
            return None
        with suppress(OSError):
            os.utime(path)  # used now, so removed last
        self.found[kind] += 1
        return value

    def put(self, kind: str, key: str, value: Any) -> None:
        """Store a value other than None, unless it is larger than the whole folder may be."""
        if not self.writable or not self.active:
            return
        from blemish.runtime.serialization import to_bytes

        path = self._path(kind, key)
        content = to_bytes(value, path.stem)
        if len(content) > min(self.limit, MAX_ENTRY_BYTES):
            return
        try:
            write_atomically(path, lambda stream: stream.write(content))
            self._make_room(len(content))
        except OSError as error:
            self._stop_writing(error)

    def once(
        self,
        kind: str,
        key: Callable[[], str],
        compute: Callable[[], Any],
        valid: Callable[[Any], bool] | None = None,
    ) -> Any:
        """The stored value, or else the computed one, which is then stored.

        ``key`` is called only if the cache is active; ``valid`` as for :meth:`get`.
        """
        if not self.active:
            return compute()
        name = key()
        value = self.get(kind, name, valid)
        if value is None:
            value = compute()
            self.put(kind, name, value)
        return value

    def report(self) -> dict[str, list[int]]:
        """Kind -> [number of entries found, number looked up]."""
        return {kind: [self.found[kind], count] for kind, count in self.asked.items()}

    def _path(self, kind: str, key: str) -> Path:
        assert self.folder is not None  # asked only while active
        return self.folder / f"{kind}-{key}.safetensors"

    def _stop_writing(self, error: OSError) -> None:
        self.writable = False
        reason = error.strerror or type(error).__name__
        how = "storing no further results" if self.active else "continuing without it"
        _log.warning("cache folder %s cannot be used (%s): %s", shown(self.folder or ""), reason, how)

    def _doubt(self, path: Path, reason: str) -> None:
        """Remove an entry that cannot be used; the first one of a run is named."""
        with suppress(OSError):
            if stat.S_ISREG(path.lstat().st_mode):
                path.unlink()
        if not self._told:
            _log.warning(
                "cache entry %s cannot be used (%s): this and any other such entry is computed again",
                shown(path),
                shown(reason)[:_LONGEST_REASON],
            )
        self._told = True

    def _make_room(self, added: int) -> None:
        """Keep the folder within its limit. Other runs may write too, so its size is measured again when it seems full."""
        if self._size is not None and self._size + added <= self.limit:
            self._size += added
            return
        entries = self._entries()
        self._size = sum(size for *_, size, _ in entries)
        if self._size <= self.limit:
            return
        for _, _, size, path in sorted(entries):
            if self._size <= 0.9 * self.limit:  # leave a margin, or every further entry would measure the folder again
                break
            with suppress(OSError):
                path.unlink()
            self._size -= size

    def _entries(self) -> list[tuple[bool, float, int, Path]]:
        """(stays longer, last use, bytes, path) of each entry; files left over from killed runs are removed."""
        assert self.folder is not None
        found: list[tuple[bool, float, int, Path]] = []
        now = time.time()
        for entry in os.scandir(self.folder):
            with suppress(OSError):  # another run may have removed it
                status = entry.stat(follow_symlinks=False)
                if not stat.S_ISREG(status.st_mode):
                    continue
                if _ENTRY.fullmatch(entry.name):
                    kind = entry.name.partition("-")[0]
                    ahead = status.st_mtime > now + _CLOCK_SKEW  # used before the clock was set back
                    last_use = 0.0 if ahead else status.st_mtime
                    found.append((kind not in BULKY, last_use, status.st_size, Path(entry.path)))
                elif is_partial(entry.name) and abs(now - status.st_mtime) > _STALE:
                    os.unlink(entry.path)
        return found


def _content(path: Path) -> bytes:
    """The content of an entry's file.

    Raises:
        UnreadableEntry: not a regular file, or larger than ``MAX_ENTRY_BYTES``.
        OSError: there is no such file, or it is a link, or the system refused.
    """
    from blemish.runtime.serialization import UnreadableEntry

    def opener(name: str, flags: int) -> int:  # a named pipe must not block, a link is not followed
        return os.open(name, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))

    if not stat.S_ISREG(path.lstat().st_mode):  # opening a device can have effects
        raise UnreadableEntry("it is not a regular file")
    with open(path, "rb", opener=opener) as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableEntry("it is not a regular file")
        if status.st_size > MAX_ENTRY_BYTES:
            raise UnreadableEntry(f"it is larger than {MAX_ENTRY_BYTES >> 20} MiB")
        return stream.read(status.st_size)


def open_cache(settings: CacheSettings, classes: Collection[type] = ()) -> Cache:
    """The cache that the settings describe; ``classes`` as for :class:`Cache`."""
    folder = None
    if settings.enabled:
        folder = Path(settings.folder).expanduser() if settings.folder else default_folder()
    return Cache(folder, settings.limit_mb * 10**6, classes)
