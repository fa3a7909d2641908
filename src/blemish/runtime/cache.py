"""Results of earlier runs, kept under a digest of everything that decides them, so that nothing is computed twice.

An entry is one file, ``KIND-DIGEST.safetensors``. It is written under another name and renamed, and carries a checksum:
half an entry, or an altered one, counts as absent. Runs at the same time only ever add whole files and remove old ones.
No trouble with the folder ever ends a run: it goes on without the cache and says so once.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import platform
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blemish import __version__
from blemish.config.schema import Cache as CacheConfig
from blemish.config.schema import Config
from blemish.errors import shown

_log = logging.getLogger(__name__)
_ENTRY = re.compile(r"[a-z]+-[0-9a-f]{64}\.safetensors")
_PARTIAL = re.compile(_ENTRY.pattern + r"\.[0-9a-f]{32}\.partial")
_STALE = 3600.0
"""Seconds after which a half-written file belongs to a run that was killed."""

BULKY = frozenset({"features", "pixels"})
"""Kinds that go first when room is needed: large, and quick to make again for what they hold."""


def default_folder() -> Path:
    """The user's cache folder for this program."""
    from platformdirs import user_cache_path

    return user_cache_path("blemish", appauthor=False)


def digest(*parts: object) -> str:
    """sha256 over numbers, texts, and lists or tuples of them.

    >>> digest("a", (1, 2.5)) == digest("a", [1, 2.5]) != digest("a", 1, 2.5)
    True
    """
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()


def array_digest(values: npt.NDArray[Any]) -> str:
    """sha256 over type, shape and bytes."""
    sha = hashlib.sha256(f"{values.dtype.str} {values.shape}".encode())
    sha.update(np.ascontiguousarray(values).tobytes())
    return sha.hexdigest()


@functools.cache
def source_digest() -> str:
    """sha256 over the package's own source files: an edit makes everything stored before it unused."""
    root = Path(__file__).parent.parent
    sha = hashlib.sha256(__version__.encode())
    for path in sorted(root.rglob("*.py")):
        sha.update(f"{path.relative_to(root).as_posix()}\n".encode())
        sha.update(path.read_bytes())
    return sha.hexdigest()


def environment_digest(device: str, weights: str) -> str:
    """What decides the bits beside images and settings: code, libraries, processor, threads, device, weights."""
    from importlib.metadata import version

    import torch

    libraries = ("torch", "numpy", "scipy", "scikit-learn", "numba", "pillow", "tifffile", "imagecodecs")
    where = torch.cuda.get_device_name() if device == "cuda" else torch.backends.cpu.get_cpu_capability()
    machine = (platform.machine(), platform.python_version(), where, torch.get_num_threads())
    return digest(source_digest(), [version(name) for name in libraries], machine, device, weights)


class Cache:
    """Entries in a folder, or none at all.

    Args:
        folder: created if need be; None keeps nothing.
        limit: bytes; beyond it the entries unused for longest are removed.
        config: settings that entries with a fitted model are given on their way back.

    Attributes:
        active: whether anything is read or written.
        asked, found: how many entries of each kind were looked up, and were there.
    """

    def __init__(self, folder: Path | None, limit: int, config: Config | None = None) -> None:
        self.folder, self.limit, self.config = folder, limit, config
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
        """Whether a file with that name is there, whole or not."""
        return self.active and self._path(kind, key).exists()

    def get(self, kind: str, key: str) -> Any | None:
        """The value stored under a key; None if there is none, or none that is whole."""
        if not self.active:
            return None
        from blemish.runtime.serialization import UnreadableEntry, from_bytes

        path = self._path(kind, key)
        self.asked[kind] += 1
        try:
            value = from_bytes(path.read_bytes(), self.config)
        except OSError:
            return None
        except UnreadableEntry:
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)  # used now: the last to be removed
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
        """The stored value, or the computed one, which then is stored. ``key`` is called only if there is a cache."""
        if not self.active:
            return compute()
        name = key()
        value = self.get(kind, name)
        if value is None:
            value = compute()
            self.put(kind, name, value)
        return value

    def report(self) -> dict[str, list[int]]:
        """For each kind that was looked up: [how many were there, how many were looked up]."""
        return {kind: [self.found[kind], count] for kind, count in self.asked.items()}

    def _path(self, kind: str, key: str) -> Path:
        assert self.folder is not None  # asked only while active
        return self.folder / f"{kind}-{key}.safetensors"

    def _give_up(self, error: OSError) -> None:
        self.active = False
        reason = error.strerror or type(error).__name__
        _log.warning("cache folder %s cannot be used (%s): going on without", shown(self.folder or ""), reason)

    def _make_room(self, added: int) -> None:
        """Keep the folder within its limit; other runs may write at the same time, so it is counted anew when full."""
        if self._size is not None and self._size + added <= self.limit:
            self._size += added
            return
        entries = self._entries()
        self._size = sum(size for *_, size, _ in entries)
        if self._size <= self.limit:
            return
        for _, _, size, path in sorted(entries):
            if self._size <= 0.9 * self.limit:  # some air, so that not every entry counts the folder again
                break
            with suppress(OSError):
                path.unlink()
            self._size -= size

    def _entries(self) -> list[tuple[bool, float, int, Path]]:
        """(is to stay, last use, bytes, path) of every file that is ours; leftovers of killed runs are removed."""
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


def open_cache(settings: CacheConfig, config: Config) -> Cache:
    """The cache that the settings ask for."""
    folder = (Path(settings.folder).expanduser() if settings.folder else default_folder()) if settings.enabled else None
    return Cache(folder, settings.limit_mb * 10**6, config)
