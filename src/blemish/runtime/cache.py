"""Stored results of earlier runs. The key of each is a digest of everything that decides it.

An entry is one file, ``KIND-DIGEST.safetensors``. It is written under a temporary name, then renamed, and it carries a
checksum. An incomplete or altered entry counts as absent. Several runs can use the folder at the same time, because each
only adds complete files and removes old ones. If the folder cannot be used, the run continues without it and says so once.
"""

from __future__ import annotations

import logging
import os
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from blemish.config.schema import Cache as CacheSettings
from blemish.errors import shown

_log = logging.getLogger(__name__)
_ENTRY = re.compile(r"[a-z]+-[0-9a-f]{64}\.safetensors")
_PARTIAL = re.compile(_ENTRY.pattern + r"\.[0-9a-f]{32}\.partial")
_STALE = 3600.0
"""Seconds after which an unfinished file is taken to be left over from a killed run."""

BULKY = frozenset({"features", "pixels"})
"""Kinds of entries that are removed first, because they are large and quick to compute again."""


def default_folder() -> Path:
    """The cache folder of this user."""
    from platformdirs import user_cache_path

    return user_cache_path("blemish", appauthor=False)


class Cache:
    """Entries in a folder, or none at all.

    Args:
        folder: created if it does not exist; None stores nothing.
        limit: size limit in bytes; beyond it, the entries that were unused for the longest time are removed.
        classes: the classes that entries may contain besides plain values, see :mod:`blemish.runtime.serialization`.

    Attributes:
        active: whether entries are read and written.
        asked: kind -> number of entries that were looked up.
        found: kind -> number of them that were there.
    """

    def __init__(self, folder: Path | None, limit: int, classes: Collection[type] = ()) -> None:
        self.folder, self.limit, self.classes = folder, limit, tuple(classes)
        self.active = folder is not None
        self.asked: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self._size: int | None = None
        if folder is not None:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                probe = folder / f"probe-{'0' * 64}.safetensors.{uuid.uuid4().hex}.partial"
                probe.touch(exist_ok=False)
                probe.unlink()
            except OSError as error:
                self._give_up(error)

    def has(self, kind: str, key: str) -> bool:
        """Whether there is a file for that key, complete or not."""
        return self.active and self._path(kind, key).exists()

    def get(self, kind: str, key: str) -> Any | None:
        """The value stored under a key; None if there is none, or if it is incomplete or altered."""
        if not self.active:
            return None
        from blemish.runtime.serialization import UnreadableEntry, from_bytes

        path = self._path(kind, key)
        self.asked[kind] += 1
        try:
            value = from_bytes(path.read_bytes(), self.classes)
        except OSError:
            return None
        except UnreadableEntry:
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)  # used now, so removed last
        self.found[kind] += 1
        return value

    def put(self, kind: str, key: str, value: Any) -> None:
        """Store a value other than None."""
        if not self.active:
            return
        from blemish.runtime.serialization import to_bytes

        path = self._path(kind, key)
        partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}.partial")
        content = to_bytes(value)
        try:
            try:
                partial.write_bytes(content)
                os.replace(partial, path)
            except BaseException:
                with suppress(OSError):
                    partial.unlink()
                raise
            self._make_room(len(content))
        except OSError as error:
            self._give_up(error)

    def once(self, kind: str, key: Callable[[], str], compute: Callable[[], Any]) -> Any:
        """The stored value, or else the computed one, which is then stored. ``key`` is called only if the cache is active."""
        if not self.active:
            return compute()
        name = key()
        value = self.get(kind, name)
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

    def _give_up(self, error: OSError) -> None:
        self.active = False
        reason = error.strerror or type(error).__name__
        _log.warning("cache folder %s cannot be used (%s): continuing without it", shown(self.folder or ""), reason)

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
        for entry in os.scandir(self.folder):
            with suppress(OSError):  # another run may have removed it
                status = entry.stat()
                if _ENTRY.fullmatch(entry.name):
                    kind = entry.name.partition("-")[0]
                    found.append((kind not in BULKY, status.st_mtime, status.st_size, Path(entry.path)))
                elif _PARTIAL.fullmatch(entry.name) and time.time() - status.st_mtime > _STALE:
                    os.unlink(entry.path)
        return found


def open_cache(settings: CacheSettings, classes: Collection[type] = ()) -> Cache:
    """The cache that the settings describe; ``classes`` as for :class:`Cache`."""
    folder = (Path(settings.folder).expanduser() if settings.folder else default_folder()) if settings.enabled else None
    return Cache(folder, settings.limit_mb * 10**6, classes)
