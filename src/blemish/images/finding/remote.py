"""What fsspec reaches: listing below an address and fetching from it. Every failure is one line that names the address."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from blemish.errors import BlemishError, InputError, MissingDependencyError, shown

RECENT_BYTES = 256 * 2**20
"""What was fetched last stays in memory up to this size: an image is opened for its header, its digest and its pixels."""

BLOCK_BYTES = 4 * 2**20
"""Bytes that are fetched at a time while the headers of a tar file are read."""

_STATE = ("size", "etag", "lastmodified", "last_modified", "mtime", "created", "updated", "md5", "generation")
"""What file systems call the state of an object, in lower case."""

_PACKAGES = {"s3": "pip install 'blemish[cloud]'", "s3a": "pip install 'blemish[cloud]'"}


class _Recent:
    """The objects that were fetched last, up to `RECENT_BYTES`."""

    def __init__(self) -> None:
        self._held: OrderedDict[object, bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: object) -> bytes | None:
        with self._lock:
            return self._held.get(key)

    def put(self, key: object, content: bytes) -> None:
        with self._lock:
            if key in self._held or len(content) > RECENT_BYTES // 4:
                return
            self._held[key] = content
            self._bytes += len(content)
            while self._bytes > RECENT_BYTES:
                self._bytes -= len(self._held.popitem(last=False)[1])

    def clear(self) -> None:
        with self._lock:
            self._held.clear()
            self._bytes = 0


_recent = _Recent()


def fetch(address: str, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes of an object, or some of them. Thread-safe.

    Raises:
        InputError: it cannot be fetched.
        MissingDependencyError: a package is missing.
        FileNotFoundError, PermissionError: as for a file.
    """
    key = address, start, end
    content = _recent.get(key)
    if content is None:
        with _explained(address):
            content = _filesystem(address).cat_file(address, start=start, end=end)
        _recent.put(key, content)
    return content


def forget_fetched() -> None:
    """Fetch everything anew from now on: another run begins, and objects may have changed."""
    _recent.clear()


def find(address: str) -> dict[str, str]:
    """The names of all objects below an address, relative to it, sorted, and a text that changes with each of them.

    The name is empty if the address is that of an object.

    Raises:
        InputError: nothing is there, or it may not be listed.
        MissingDependencyError: a package is missing.
    """
    with _explained(address):
        system = _filesystem(address)
        root = system._strip_protocol(address).rstrip("/")
        system.invalidate_cache()
        found = system.find(address, detail=True)
    versions = {path[len(root) :].lstrip("/"): _version(info) for path, info in found.items()}
    return dict(sorted(versions.items()))


def _version(info: dict[str, Any]) -> str:
    """Size, times and checksums that a listing has of an object; empty if it has none but the size."""
    known = {name.casefold(): str(value) for name, value in info.items() if name.casefold() in _STATE and value}
    return " ".join(f"{name}={known[name]}" for name in sorted(known)) if set(known) - {"size"} else ""


def open_stream(address: str) -> IO[bytes]:
    """An object for reading block by block.

    Raises:
        InputError: it cannot be opened.
        MissingDependencyError: a package is missing.
    """
    with _explained(address):
        return _filesystem(address).open(address, "rb", block_size=BLOCK_BYTES)


def is_object(address: str) -> bool:
    """Whether an address names an object, and no folder; False if nobody can say."""
    try:
        return bool(_filesystem(address).isfile(address))
    except Exception:  # as for exists
        return False


def exists(address: str) -> bool:
    """Whether there is an object or a folder at an address; False if nobody can say."""
    try:
        return bool(_filesystem(address).exists(address))
    except Exception:  # the errors of the libraries behind fsspec have no common base
        return False


def _filesystem(address: str) -> Any:
    scheme, _, rest = address.partition("://")
    return _connection(f"{scheme}://{rest.partition('/')[0]}")


@functools.lru_cache(maxsize=32)
def _connection(host: str) -> Any:
    """One connection to a host for all threads; fsspec itself would open one for each thread."""
    from fsspec.core import url_to_fs

    return url_to_fs(host, skip_instance_cache=True)[0]


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """Turn errors of the libraries behind fsspec, which have no common base, into ours."""
    try:
        yield
    except (BlemishError, FileNotFoundError):
        raise
    except Exception as error:
        raise _ours(address, error) from error


def _ours(address: str, error: Exception) -> BlemishError:
    scheme, name = address.partition("://")[0], shown(address)
    reason = shown(" ".join(str(error).split())[:200]).rstrip(".") or type(error).__name__
    if isinstance(error, ImportError):
        install = _PACKAGES.get(scheme, "install the package that fsspec names")
        return MissingDependencyError(f"{name}: addresses with {scheme}:// need another package ({reason}): {install}")
    if isinstance(error, PermissionError):
        return InputError(f"{name}: may not be read ({reason}); check the address and your credentials")
    if isinstance(error, ValueError) and "rotocol" in reason:
        return InputError(
            f"{name}: addresses with {scheme}:// are not known ({reason}); give a folder, s3://BUCKET/PREFIX or file://"
        )
    return InputError(f"{name}: cannot be fetched ({reason}); check the address, your credentials and the network")
