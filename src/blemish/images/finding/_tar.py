"""Tar files, such as the shards of WebDataset: where their images are, found by reading the headers alone.

Nothing is ever unpacked. Links, devices, and names that lead outside of the archive are passed over.
"""

from __future__ import annotations

import functools
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from blemish.errors import InputError, shown
from blemish.images.finding import remote
from blemish.images.finding.places import Member, Url, name_of, open_regular
from blemish.types import Skipped

TAR_SUFFIX = ".tar"
"""Suffix of tar files, matched in any case."""

_MAX_HEADER_BYTES = 2**20
"""Longest extended header that is read; a damaged one may claim any length."""

_LINK, _SPECIAL, _SPARSE = "a link inside a tar file", "not a regular file", "stored as a sparse file inside a tar file"
_OUTSIDE, _REPLACED = "with a name that leads outside of its tar file", "replaced by a later file of a tar file"
_COMPRESSED = ((b"\x1f\x8b", "gunzip"), (b"BZh", "bunzip2"), (b"\xfd7zXZ", "unxz"), (b"\x28\xb5\x2f\xfd", "unzstd"))


@dataclass
class TarIndex:
    """What the headers of a tar file say.

    Attributes:
        members: its regular files by name, in the order of the file; of several with one name, the last.
        passed_over: what is no regular file, and why.
        cut: files that are not complete, and why; and the tar file itself, if it has no end.
    """

    members: dict[str, Member] = field(default_factory=dict)
    passed_over: list[Skipped] = field(default_factory=list)
    cut: list[Skipped] = field(default_factory=list)


def is_tar(name: str) -> bool:
    """Whether a name is that of a tar file."""
    return name.lower().endswith(TAR_SUFFIX)


def read_index(archive: Path | Url, label: str) -> TarIndex:
    """The files of a tar file; ``label`` is its name in the set.

    A tar file that was cut short, by an interrupted copy for example, gives the files up to there.

    Raises:
        InputError: it cannot be read, is no tar file, or is compressed.

    Cost: one read of 512 bytes for each file inside; of an address, all blocks once.
    """
    index = TarIndex()
    with _opened(archive) as handle:
        size = handle.seek(0, os.SEEK_END)
        handle.seek(0)
        _check_start(archive, handle.read(512))
        try:
            for entry in _entries(handle):
                _enter(index, archive, label, entry, size)
        except (tarfile.TarError, OSError, ValueError, EOFError, OverflowError):
            reason = f"{shown(archive)}: is cut short or damaged after {len(index.members)} files; copy it again"
            index.cut.append(Skipped(label, reason))
    return index


@functools.lru_cache(maxsize=8)
def remembered_index(archive: Path | Url) -> TarIndex:
    """As :func:`read_index`; the last few are remembered, for callers that ask for one file after the other."""
    return read_index(archive, name_of(archive))


class _Headers:
    """An open tar file that refuses to read more than headers: a damaged one may claim a header of any length."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle
        self.seek, self.tell = handle.seek, handle.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError("a header is damaged")
        return self._handle.read(size)


def _entries(handle: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    """Everything in a tar file, in order; a header that leads back is an error, where tarfile would turn in circles."""
    handle.seek(0)
    at = -1
    with tarfile.TarFile(fileobj=_Headers(handle), mode="r", errorlevel=2) as tar:  # type: ignore[arg-type]
        while (entry := tar.next()) is not None:
            if entry.size < 0 or entry.offset_data <= at:
                raise tarfile.ReadError("a header leads back")
            at = entry.offset_data
            tar.members = []  # type: ignore[attr-defined]  # tarfile would keep all of them
            yield entry
        handle.seek(tar.offset)
    if handle.read(1024) != bytes(1024):  # two empty blocks end every tar file
        raise tarfile.ReadError("the end is missing")


def _enter(index: TarIndex, archive: Path | Url, label: str, entry: tarfile.TarInfo, size: int) -> None:
    """Add one entry to an index; ``size`` is that of the tar file."""
    if entry.isdir():
        return
    path = PurePosixPath(entry.name)
    name, shown_name = path.as_posix(), f"{label}/{entry.name.lstrip('/')}"
    if entry.issym() or entry.islnk():
        index.passed_over.append(Skipped(shown_name, _LINK))
    elif not entry.isreg():
        index.passed_over.append(Skipped(shown_name, _SPECIAL))
    elif entry.issparse():
        index.passed_over.append(Skipped(shown_name, _SPARSE))
    elif path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        index.passed_over.append(Skipped(shown_name, _OUTSIDE))
    elif entry.offset_data + entry.size > size:
        reason = f"{shown(archive)}/{shown(name)}: its tar file ends before it does; copy it again"
        index.cut.append(Skipped(shown_name, reason))
    else:
        if index.members.pop(name, None) is not None:
            index.passed_over.append(Skipped(shown_name, _REPLACED))
        index.members[name] = Member(archive, name, entry.offset_data, entry.size)


def _check_start(archive: Path | Url, head: bytes) -> None:
    """Raise InputError unless a tar file begins like this."""
    program = next((name for start, name in _COMPRESSED if head.startswith(start)), None)
    if program is not None:
        raise InputError(f"{shown(archive)}: is compressed; unpack it once with {program}, for images hardly shrink")
    if not head:
        raise InputError(f"{shown(archive)}: is empty; copy it again")
    if head != bytes(512):  # an archive without files
        try:
            tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise InputError(f"{shown(archive)}: is no tar file, or its start is damaged; copy it again") from error


@contextmanager
def _opened(archive: Path | Url) -> Iterator[IO[bytes]]:
    try:
        with open_regular(archive) if isinstance(archive, Path) else remote.open_stream(archive.text) as handle:
            yield handle
    except FileNotFoundError as error:
        raise InputError(f"{shown(archive)}: no such file; check the path") from error
    except PermissionError as error:
        raise InputError(f"{shown(archive)}: may not be read; check its permissions") from error
