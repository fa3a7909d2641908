"""The output folder: who may write into it, which files belong to us, and how new results take the place of old ones.

A folder is ours if it holds our ``run.json`` or our journal. New results are written into a hidden folder beside the old
ones. Only when they are complete does the exchange begin: the old ``run.json`` is removed first and the new one arrives
last, so a folder without ``run.json`` is not a complete run. During the exchange the journal lists all files of both runs,
so that the next run can clean up after a process that was killed. Only listed files of the kinds that we write are ever
removed, and a file that is in the way without being listed is an error.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO

from blemish.errors import OutputError
from blemish.output.claims import (
    DATA_FILES,
    FOLDERS,
    JOURNAL,
    REPORT_DATA_FILE,
    REPORT_FILE,
    RUN_FILE,
    STAGING_PREFIX,
    TOP_FILES,
    check_length,
    explain_os_errors,
    hidden_files,
    is_ours,
    listed_files,
    read_run,
    refuse_inside,
    short,
    write_journal,
)
from blemish.output.exchange import exchange
from blemish.runtime.atomic import create_file, write_atomically
from blemish.runtime.lock import LOCK_FILE, FolderLock, FolderLocked

Writer = Callable[[BinaryIO], object]


def prepare_output(out_dir: Path | str, source_dir: Path | str | None = None) -> OutputFolder:
    """Create the output folder, or claim an existing one, before any work is spent on a run.

    The folder is locked until it is closed: use it in a ``with`` statement around the whole run. No results are removed
    here; those of a previous run stay until the new ones are complete.

    Args:
        out_dir: where results go; missing parents are created.
        source_dir: the input folder, which must neither be nor contain ``out_dir``, because the next run would read the
            overlays as images.

    Returns:
        The folder, which is empty or ours, writable and locked.

    Raises:
        OutputError: the name is too long, a file is in the way, the folder holds other things, lies in the input folder,
            is not writable, or another run is writing into it.
    """
    check_length(out_dir)
    out = Path(out_dir)
    if source_dir is not None:
        refuse_inside(out, Path(source_dir))
    with explain_os_errors(out):
        if os.path.lexists(out) and not out.is_dir():
            raise OutputError(f"{short(out)}: is a file or a broken link; give a folder for the results")
        made = _make_folders(out)
        entries = os.listdir(out)
    if not is_ours(out, entries):
        raise OutputError(
            f"{short(out)}: exists and was not made by blemish ({len(entries)} entries); "
            "nothing was changed: give a new or empty folder"
        )
    try:
        return OutputFolder(out, _lock(out), made)
    except BaseException:
        _remove_empty(made)
        raise


@contextmanager
def claimed(out_dir: Path | str | OutputFolder, source_dir: Path | str | None) -> Iterator[OutputFolder]:
    """The output folder, claimed for the time of a ``with`` statement unless the caller has claimed it already."""
    if isinstance(out_dir, OutputFolder):
        yield out_dir
        return
    with prepare_output(out_dir, source_dir) as folder:
        yield folder


def _lock(out: Path) -> FolderLock:
    with explain_os_errors(out / LOCK_FILE):
        try:
            return FolderLock(out)
        except FolderLocked as error:
            raise OutputError(
                f"{short(out)}: another run is writing into this folder ({error.holder}); "
                "wait until it ends, or choose another folder with --out"
            ) from error


class OutputFolder:
    """A locked output folder: files are collected out of sight, and :meth:`finish` exchanges them for the old ones.

    :func:`prepare_output` makes it; :meth:`close`, or the end of a ``with`` statement, gives it back. If it is closed
    before :meth:`finish`, the folder is as it was before.

    Args:
        root: the folder.
        lock: our lock on it.
        made: the folders that were created for it, which are removed again if they stay empty.
    """

    def __init__(self, root: Path, lock: FolderLock, made: list[Path]) -> None:
        self.root = root
        self.files: list[str] = []
        self._checksums: dict[str, str] = {}
        self._lock, self._made = lock, made
        self._staging: Path | None = None
        self._guard = threading.Lock()
        try:
            with explain_os_errors(root):
                self._old = frozenset(listed_files(root))
                self._check_claims()
                _remove_leftovers(root)
        except BaseException:
            lock.release()
            raise

    def __enter__(self) -> OutputFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove unfinished files, and let other runs write into the folder."""
        self._remove_staging()
        self._lock.release()
        _remove_empty(self._made)

    def write(self, relative: str, writer: Writer) -> None:
        """Write one file of this run out of sight. Several threads may write at a time.

        Args:
            relative: path below the folder, with ``/`` as separator.
            writer: writes the content to the binary stream that it is given.

        Raises:
            OutputError: a file that is not ours is in the way, or the system refused.
        """
        self._check_free(relative)
        staged = self._stage() / relative
        with explain_os_errors(self.root / relative):
            staged.parent.mkdir(parents=True, exist_ok=True)
            with create_file(staged) as stream:
                writer(stream)
                if relative in DATA_FILES:
                    stream.seek(0)
                    self._checksums[relative] = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]
        with self._guard:
            self.files.append(relative)

    def finish(self, document: dict[str, object]) -> Path:
        """Exchange the old results for the new ones; ``run.json``, with files and checksums, comes last.

        Args:
            document: content of ``run.json``.

        Returns:
            Path of ``run.json``.

        Raises:
            OutputError: the system refused. Everything that can be checked or written before is checked and written
                before the first old file is removed.
        """
        listed = sorted({*self.files, RUN_FILE, REPORT_FILE, REPORT_DATA_FILE})
        text = json.dumps({**document, "sha256": self._checksums, "files": listed}, indent=2, allow_nan=False) + "\n"
        self.write(RUN_FILE, lambda stream: stream.write(text.encode("utf-8")))
        for relative in self.files:
            self._check_free(relative)  # the user may have put something there since it was written
        self._check_access()
        with explain_os_errors(self.root):
            exchange(self.root, self._stage(), self._old, frozenset(self.files))
        self._old, self.files, self._made = frozenset(listed_files(self.root)), [], []
        self._checksums = {}
        self._remove_staging()
        return self.root / RUN_FILE

    def replace(self, relative: str, writer: Writer) -> Path:
        """Write a single file at once, beside results that stay as they are.

        Raises:
            OutputError: a file that is not ours is in the way, or the system refused.
        """
        self._check_free(relative)
        with explain_os_errors(self.root / relative):
            if read_run(self.root) is None:
                self._old |= {relative}
                write_journal(self.root, sorted(self._old))
                self._made = []
            return write_atomically(self.root / relative, writer)

    def _stage(self) -> Path:
        """The hidden folder for new files, which nobody else may enter."""
        with self._guard:
            if self._staging is None:
                with explain_os_errors(self.root):
                    staging = self.root / f"{STAGING_PREFIX}{secrets.token_hex(8)}"
                    staging.mkdir(mode=0o700)
                    self._staging = staging
            return self._staging

    def _remove_staging(self) -> None:
        if self._staging is not None:
            shutil.rmtree(self._staging, ignore_errors=True)
            self._staging = None

    def _check_claims(self) -> None:
        """Raise OutputError if results could not be exchanged later, as far as that can be known before the run."""
        self._check_access()
        for name in sorted(TOP_FILES):
            self._check_free(name)
        for name in FOLDERS:
            self._check_free(f"{name}/{JOURNAL}")
            if (self.root / name).exists() and (self.root / name).stat().st_dev != self.root.stat().st_dev:
                raise OutputError(f"{short(self.root / name)}: is on another disk; move it or choose another folder")

    def _check_free(self, relative: str) -> None:
        """Raise OutputError if something that is not ours has the name of a file, or of a folder above it."""
        target = self.root / relative
        for parent in list(target.parents)[: len(PurePosixPath(relative).parts) - 1]:
            name = parent.relative_to(self.root).as_posix()
            if parent.is_symlink() or (parent.exists() and not parent.is_dir() and name not in self._old):
                raise OutputError(f"{short(parent)}: is in the way and not a folder; move it or choose another folder")
        if not os.path.lexists(target) or relative in self._old or self._is_old(target):
            return
        raise OutputError(f"{short(target)}: is in the way and not ours; move it or choose another folder")

    def _is_old(self, target: Path) -> bool:
        """Whether all that has this name is ours: a folder of old files, or an old file spelled in another case."""
        if target.is_dir() and not target.is_symlink():
            return all(
                (Path(folder) / name).relative_to(self.root).as_posix() in self._old
                for folder, _, names in os.walk(target)
                for name in names
            )
        relative = target.relative_to(self.root).as_posix()
        alike = [name for name in self._old if name.casefold() == relative.casefold()]
        return any((self.root / name).exists() and target.samefile(self.root / name) for name in alike)

    def _check_access(self) -> None:
        """Raise OutputError if a folder does not let us replace the files in it."""
        names = [*self._old, *(f"{name}/{JOURNAL}" for name in FOLDERS)]
        for relative in sorted({parent for name in names for parent in PurePosixPath(name).parents}):
            folder = self.root / relative
            if folder.is_dir() and not os.access(folder, os.W_OK | os.X_OK):
                raise OutputError(
                    f"{short(folder)}: cannot be written (no permission); "
                    "check its permissions or choose another folder with --out"
                )


def _make_folders(out: Path) -> list[Path]:
    """Create a folder and its parents; returns those that were missing, the deepest first."""
    missing = [one for one in (out, *out.parents) if not one.exists()]
    out.mkdir(parents=True, exist_ok=True)
    return missing


def _remove_empty(folders: Iterable[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _remove_leftovers(root: Path) -> None:
    """Remove what a killed run has left out of sight; the lock says that no other run is writing."""
    for entry in hidden_files(root):
        path = root / entry
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()
