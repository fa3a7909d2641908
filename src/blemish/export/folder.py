"""The folder of an export: new or ours, filled out of sight, and exchanged for the previous export at the end."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO

from blemish.errors import OutputError
from blemish.output.claims import STAGING_PREFIX, check_length, explain_os_errors, short
from blemish.runtime.atomic import create_file, is_partial, write_atomically
from blemish.runtime.files import read_regular
from blemish.runtime.lock import LOCK_FILE, FolderLock, FolderLocked

MANIFEST = ".blemish-export.json"
"""The list of the files of an export. Its name is hidden, so that programs that read the folder pass it over."""

SCHEMA, VERSION = "blemish.export", 1

_MAX_MANIFEST_BYTES = 2**30


class ExportFolder:
    """A locked folder. Files are collected out of sight; :meth:`finish` puts them in the place of an earlier export.

    Use it in a ``with`` statement. If it ends before :meth:`finish`, the folder is as it was before.

    Args:
        root: the folder; it is made if need be.

    Raises:
        OutputError: the folder holds other things, cannot be written, or another process is writing into it.
    """

    def __init__(self, root: Path) -> None:
        check_length(root)
        self.root = root
        self.files: list[str] = []
        with explain_os_errors(root):
            if os.path.lexists(root) and not root.is_dir():
                raise OutputError(f"{short(root)}: is a file or a broken link; give a folder for the export")
            root.mkdir(parents=True, exist_ok=True)
            listed = read_manifest(root)
            foreign = [name for name in os.listdir(root) if not _is_hidden(name)]
            if foreign and listed is None:
                raise OutputError(
                    f"{short(root)}: exists and was not made by blemish export ({len(foreign)} entries); "
                    "nothing was changed: give a new or empty folder with --out"
                )
            try:
                self._lock = FolderLock(root)
            except FolderLocked as error:
                raise OutputError(
                    f"{short(root)}: another export is writing into this folder ({error.holder}); wait until it ends"
                ) from error
            self._old = listed or []
            _remove_leftovers(root)
            self._staging = root / f"{STAGING_PREFIX}{secrets.token_hex(8)}"
            self._staging.mkdir(mode=0o700)

    def __enter__(self) -> ExportFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._staging, ignore_errors=True)
        self._lock.release()
        with suppress(OSError):
            self.root.rmdir()  # only an empty folder can be removed

    def write(self, relative: str, writer: Callable[[BinaryIO], object]) -> None:
        """Write one file; ``relative`` is its path below the folder, with ``/`` as separator."""
        with explain_os_errors(self.root / relative), create_file(self._new(relative)) as stream:
            writer(stream)

    def write_bytes(self, relative: str, data: bytes | bytearray) -> None:
        """Write one file with this content."""
        self.write(relative, lambda stream: stream.write(data))

    def write_text(self, relative: str, text: str) -> None:
        """Write one text file in UTF-8."""
        self.write_bytes(relative, text.encode("utf-8"))

    def place(self, relative: str, source: Path, link: bool) -> None:
        """Copy a file, or make a hard link to it if that is wanted and the disk allows it. The source stays as it is."""
        with explain_os_errors(self.root / relative):
            target = self._new(relative)
            if link:
                with suppress(OSError):
                    os.link(source.resolve(), target)
                    return
            with open(source, "rb") as content, create_file(target) as stream:
                shutil.copyfileobj(content, stream, 2**20)

    def _new(self, relative: str) -> Path:
        target = self._staging / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        self.files.append(relative)
        return target

    def finish(self) -> None:
        """Exchange the files of the earlier export for the new ones.

        Raises:
            OutputError: something else has the name of a new file, or the system refused.
        """
        old = [name for name in self._old if _removable(self.root, name)]
        ours = frozenset(old)
        for relative in self.files:
            if relative not in ours and os.path.lexists(self.root / relative) and not (self.root / relative).is_dir():
                raise OutputError(f"{short(self.root / relative)}: is in the way and not ours; move it or use --out")
        with explain_os_errors(self.root):
            self._write_manifest([*old, *self.files])  # whatever happens now, the next export can clean up
            for name in old:
                with suppress(FileNotFoundError):
                    (self.root / name).unlink()
            _remove_empty_parents(self.root, old)
            for relative in self.files:
                target = self.root / relative
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(self._staging / relative, target)
            self._write_manifest(self.files)

    def _write_manifest(self, names: list[str]) -> None:
        text = json.dumps({"schema": SCHEMA, "version": VERSION, "files": sorted(set(names))}, indent=1) + "\n"
        write_atomically(self.root / MANIFEST, lambda stream: stream.write(text.encode("ascii")))


def read_manifest(root: Path) -> list[str] | None:
    """The files of the export in a folder; None if there is no export of ours."""
    try:
        document = json.loads(read_regular(root / MANIFEST, _MAX_MANIFEST_BYTES, follow=False))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        return None
    files = document.get("files")
    return [name for name in files if isinstance(name, str)] if isinstance(files, list) else []


def _is_hidden(name: str) -> bool:
    return name in (LOCK_FILE, MANIFEST) or name.startswith(STAGING_PREFIX) or is_partial(name)


def _removable(root: Path, name: str) -> bool:
    """Whether a listed name is that of a file in the folder itself: a list from elsewhere is not to be trusted."""
    path = PurePosixPath(name)
    if (
        not name
        or "\0" in name
        or path.is_absolute()
        or ".." in path.parts
        or (os.sep == "\\" and set(name) & {"\\", ":"})
    ):
        return False
    parents = list((root / name).parents)[: len(path.parts) - 1]
    target = root / name
    return not any(one.is_symlink() for one in parents) and (target.is_symlink() or target.is_file())


def _remove_empty_parents(root: Path, names: list[str]) -> None:
    folders = {parent.as_posix() for name in names for parent in PurePosixPath(name).parents} - {"."}
    for folder in sorted(folders, key=len, reverse=True):
        with suppress(OSError):
            (root / folder).rmdir()


def _remove_leftovers(root: Path) -> None:
    """Remove what a killed export has left out of sight; the lock says that no other export is writing."""
    for name in os.listdir(root):
        path = root / name
        if name.startswith(STAGING_PREFIX) and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif is_partial(name):
            with suppress(OSError):
                path.unlink()
