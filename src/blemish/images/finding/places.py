"""Where the bytes of an image are: in a file, in a tar file, or behind an address. The only place that opens images."""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from blemish.errors import InputError, shown
from blemish.images.finding import remote

Signature = tuple[int, int, int, int]
"""What tells whether a file has changed: size, times of the last change of content and of the entry, and inode of a file;
size and digest of what was fetched from an address."""

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://(.*)", re.DOTALL)


@dataclass(frozen=True)
class Url:
    """An address that fsspec knows, such as ``s3://bucket/folder`` or ``memory://folder/image.png``.

    Attributes:
        text: the address, without a slash at its end.
        version: what a listing said about the state of the object, such as its size and time; empty if nobody looked.
    """

    text: str
    version: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.text

    @property
    def name(self) -> str:
        """The part after the last slash."""
        return self.text.rpartition("/")[2]

    @property
    def parent(self) -> Url:
        """The address without its last part."""
        return Url(self.text.rpartition("/")[0])

    def __truediv__(self, name: str) -> Url:
        return Url(f"{self.text}/{name}")


@dataclass(frozen=True)
class Member:
    """A file inside a tar file, which is read where it is and never unpacked.

    Attributes:
        archive: the tar file.
        name: path inside it.
        start: where its bytes begin in the tar file.
        size: number of its bytes.
    """

    archive: Path | Url
    name: str
    start: int
    size: int

    def __str__(self) -> str:
        return f"{self.archive}/{self.name}"


Place = Path | Url | Member
"""Where an image is. The text of each is what users call it."""


def as_place(text: str | os.PathLike[str], base: Path | Url | None = None) -> Path | Url:
    """The path or address that a user has written.

    Args:
        text: a path, or an address with ``://``; ``file://`` is a path.
        base: what a relative path is relative to; None: the working directory.

    >>> str(as_place("s3://bucket/rolls/")), as_place("file:///data/a%20b"), str(as_place("a.png", Url("s3://bucket")))
    ('s3://bucket/rolls', PosixPath('/data/a b'), 's3://bucket/a.png')
    """
    written = os.fspath(text)
    found = _ADDRESS.fullmatch(written) if not isinstance(text, Path) else None
    if found is not None:
        scheme, rest = found[1].lower(), found[2]
        return Path(unquote(rest)) if scheme == "file" else Url(f"{scheme}://{rest.rstrip('/')}")
    if base is None:
        return Path(text)
    return base / written if isinstance(base, Path) else base / written.lstrip("/")


def name_of(place: Place) -> str:
    """A place as text, with ``/`` as separator."""
    return place.as_posix() if isinstance(place, Path) else str(place)


def is_remote(place: Place) -> bool:
    """Whether a place is behind an address."""
    return isinstance(place.archive if isinstance(place, Member) else place, Url)


def absolute(place: Place) -> Place:
    """The same place for a process with another working directory."""
    if isinstance(place, Path):
        return place.absolute()
    if isinstance(place, Member) and isinstance(place.archive, Path):
        return replace(place, archive=place.archive.absolute())
    return place


def open_place(place: Place) -> IO[bytes]:
    """Open an image for reading and seeking. What an address names is fetched as a whole.

    Raises:
        InputError: the path is a folder or no regular file, or the address cannot be fetched.
        OSError: the file cannot be opened.
    """
    if isinstance(place, Path):
        return open_regular(place)
    if isinstance(place, Url):
        return Fetched(remote.fetch(place.text))
    if isinstance(place.archive, Path):
        return io.BufferedReader(_Section(open_regular(place.archive), place.start, place.size))
    return Fetched(remote.fetch(place.archive.text, place.start, place.start + place.size))


def signature(handle: IO[bytes]) -> Signature:
    """What tells whether an open image is still the same."""
    if isinstance(handle, Fetched):
        return handle.signature
    raw = getattr(handle, "raw", None)
    if isinstance(raw, _Section):
        return (raw.size, *_status(raw.archive)[1:])
    return _status(handle)


def stamp(place: Place) -> tuple[object, ...] | None:
    """What tells, without opening an image, whether it is still the same; None if nothing does.

    Raises:
        OSError: the file cannot be looked at.
    """
    if isinstance(place, Member):
        outer = stamp(place.archive)
        return None if outer is None else (*outer, place.start, place.size)
    if isinstance(place, Url):
        return (place.version,) if place.version else None
    status = place.stat()
    return status.st_size, status.st_mtime_ns, status.st_ino


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file for reading; a pipe, socket or device is refused without being opened.

    Raises:
        InputError: the path is a folder or no regular file.
        OSError: the file cannot be opened.
    """
    if stat.S_ISDIR(path.stat().st_mode):
        raise InputError(f"{shown(path)}: is a folder, not an image")
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"{shown(path)}: is not a regular file")
    handle = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
        handle.close()
        raise InputError(f"{shown(path)}: is not a regular file")
    return handle


def _without_waiting(path: str, flags: int) -> int:
    """Open without waiting for a writer, in case a pipe has taken the place of the file since it was looked at."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _status(handle: IO[bytes]) -> Signature:
    status = os.fstat(handle.fileno())
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


class Fetched(io.BytesIO):
    """Bytes that were fetched from an address."""

    @property
    def signature(self) -> Signature:
        """Size and digest."""
        content = self.getbuffer()
        found = hashlib.sha256(content).digest()
        return len(content), *(int.from_bytes(found[at : at + 8], "big") for at in (0, 8, 16))  # type: ignore[return-value]


class _Section(io.RawIOBase):
    """A part of an open tar file as a file of its own; a tar file that has become shorter ends it early."""

    def __init__(self, archive: IO[bytes], start: int, size: int) -> None:
        self.archive, self.size = archive, size
        self._start, self._at = start, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        if at < 0:
            raise ValueError("negative seek position")
        self._at = at
        return at

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        wanted = max(0, min(len(buffer), self.size - self._at))
        self.archive.seek(self._start + self._at)
        content = self.archive.read(wanted)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)

    def close(self) -> None:
        if not self.closed:
            self.archive.close()
        super().close()
