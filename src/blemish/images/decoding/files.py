"""The image files of a set: pages as images, names, and whether a file still is what it was when the set was opened."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from blemish.errors import InputError, shown
from blemish.images.decoding.decoders import probe_pages, read_raw
from blemish.images.decoding.raw import ImageInfo
from blemish.images.finding.places import Place, Signature, name_of, open_place, signature
from blemish.runtime.digests import array_digest
from blemish.types import Skipped


@dataclass(frozen=True)
class ImageFile:
    """One image in a file.

    Attributes:
        path: the file, or another place.
        page: page or frame, from 0.
        pages: number of pages in the file.
        info: the header.
        signature: what the file system said about the file when the header was read.
    """

    path: Place
    page: int
    pages: int
    info: ImageInfo
    signature: Signature

    def changed(self, handle: IO[bytes], content: str | None) -> InputError | None:
        """An error if the open file is not the one whose header was read; ``content``: its digest, if known."""
        now = signature(handle)
        if now == self.signature or (content is not None and content == file_digest(handle)):
            return None
        if content is None and self.pages == 1 and now[:2] + now[3:] == self.signature[:2] + self.signature[3:]:
            return None  # only the entry was touched: a link was made, permissions were set
        return InputError(f"{shown(self.path)}: was changed while the run was reading it; run again")

    def content_digest(self) -> str:
        """Digest of the file, or of the values of one page of several.

        A file that cannot be read, or that changes meanwhile, gets a digest that no other file has.
        """
        try:
            if self.pages > 1:
                return self._page_digest()
            with open_place(self.path) as handle:
                before = signature(handle)
                found = file_digest(handle)
                return found if signature(handle) == before else uuid.uuid4().hex
        except (OSError, InputError):
            return uuid.uuid4().hex

    def _page_digest(self) -> str:
        try:
            raw = read_raw(self.path, self.page)
        except InputError:
            with open_place(self.path) as handle:
                return f"{file_digest(handle)} page {self.page} cannot be decoded"
        return f"{array_digest(raw.values)} {raw.bits}"

    @property
    def extent(self) -> tuple[int, ...]:
        """What copies have in common, known without decoding: the size of the file, or of a page."""
        return (self.signature[0],) if self.pages == 1 else (self.info.height, self.info.width, self.info.bits)


@dataclass
class OpenedFiles:
    """Images of a set of files, with their names, and what could not be read or was passed over."""

    files: list[ImageFile] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    unreadable: list[Skipped] = field(default_factory=list)
    passed_over: list[Skipped] = field(default_factory=list)

    def add(self, others: OpenedFiles, prefix: str) -> None:
        """Append the images of other files, with a prefix to their names."""
        self.files += others.files
        self.names += [prefix + name for name in others.names]
        self.unreadable += [Skipped(prefix + one.path, one.reason) for one in others.unreadable]
        self.passed_over += others.passed_over


def open_files(paths: Sequence[Place], names: Sequence[str] | None, max_megabytes: float, threads: int) -> OpenedFiles:
    """Read the header of every file.

    From a folder or manifest (``names`` given), each page of a file is an image: the first has the name of the file, the
    others that name with ``#2``, ``#3`` and so on. From a list of paths, each path is one image, so that results have the
    order and length of the list; ``roll.tif#2`` names the second page. The other pages of such a file are passed over.
    """
    opened, whole = OpenedFiles(), names is not None
    names = [name_of(path) for path in paths] if names is None else names
    taken = set(names)
    with ThreadPoolExecutor(threads) as pool:
        outcomes = pool.map(lambda path: _headers(path, whole, max_megabytes), paths)
        for name, outcome in zip(names, outcomes, strict=True):
            if isinstance(outcome, str):
                opened.unreadable.append(Skipped(name, outcome))
                continue
            file, first, pages, stamp = outcome
            chosen = range(len(pages)) if whole else [first]
            for page in chosen:
                own = name if page == first else _page_name(name, page, taken)
                info = pages[page]
                if isinstance(info, str):
                    opened.unreadable.append(Skipped(own, info))
                else:
                    opened.files.append(ImageFile(file, page, len(pages), info, stamp))
                    opened.names.append(own)
            if not whole and len(pages) > 1:
                reason = "a page of a file from which the list takes another page"
                others = [page for page in range(len(pages)) if page != first]
                opened.passed_over += [Skipped(f"{name_of(file)}#{page + 1}", reason) for page in others]
    return opened


def file_digest(handle: IO[bytes]) -> str:
    """SHA-256 of an open file."""
    handle.seek(0)
    return hashlib.file_digest(handle, "sha256").hexdigest()  # type: ignore[arg-type]


def _headers(
    path: Place, whole: bool, max_megabytes: float
) -> tuple[Place, int, list[ImageInfo | str], Signature] | str:
    """File, page, header of every page, and signature; or why the file cannot be read."""
    file, page = (path, 0) if whole or not isinstance(path, Path) else _page_of(path)
    seen: list[Signature] = []
    try:
        pages = probe_pages(file, max_megabytes=max_megabytes, check=lambda handle: seen.append(signature(handle)))
    except InputError as error:
        return str(error)
    if page >= len(pages):
        return f"{shown(path)}: the file has {len(pages)} pages; check the number after #"
    return file, page, pages, seen[0]


def _page_of(path: Path) -> tuple[Path, int]:
    """File and page of a path such as ``roll.tif#2``, unless a file has that name."""
    found = re.fullmatch(r"(.+)#([1-9]\d{0,5})", path.name, re.DOTALL)
    if found is None or os.path.lexists(path):
        return path, 0
    return path.with_name(found[1]), int(found[2]) - 1


def _page_name(name: str, page: int, taken: set[str]) -> str:
    """``name#2`` for the second page, with a further ``#`` where a file has that name."""
    mark = "#"
    while f"{name}{mark}{page + 1}" in taken:
        mark += "#"
    return f"{name}{mark}{page + 1}"
