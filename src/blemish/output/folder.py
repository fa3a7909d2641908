"""The output folder: whose it is, what may be removed from it, and how a file gets into it whole or not at all.

A folder is ours if it holds our ``run.json`` or our journal (``.blemish-files``). The journal lists every file of a run
*before* it is written, so a run that was killed can be cleaned up by the next one; a complete run lists its files in
``run.json`` and has no journal. Only listed files of the kinds that we write are ever removed, and a file that is in
the way without being listed is an error.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TextIO

from blemish.errors import OutputError
from blemish.images.loading import shown
from blemish.output.run_file import SCHEMA

RUN_FILE = "run.json"
REPORT_FILE = "report.html"
JOURNAL = ".blemish-files"

_HEADER = json.dumps({"schema": "blemish.files", "version": 1})
_TOP_FILES = frozenset({RUN_FILE, REPORT_FILE, "images.csv", "images.parquet", "descriptors.npy"})
_FOLDERS = {"maps": ".tiff", "anomaly_maps": ".tiff", "masks": ".png", "overlays": ".jpg"}


def prepare_output(out_dir: Path | str, source_dir: Path | str | None = None, *, claim: bool = True) -> Path:
    """Create the output folder, or claim an existing one, before any work is spent on a run.

    Nothing is removed here: the files of a previous run stay until :func:`blemish.output.write.write_outputs` replaces them.

    Args:
        out_dir: where results go; parents are created.
        source_dir: the input folder, which must neither be nor contain ``out_dir`` (overlays would be read as images
            by the next run).
        claim: leave our journal in the folder, so that it counts as ours although the run has not ended.

    Returns:
        The folder, empty or ours; the journal in it also proves that it can be written to.

    Raises:
        OutputError: a file is in the way, the folder holds other things, lies in the input folder or is not writable.
    """
    out = Path(out_dir)
    if source_dir is not None:
        refuse_inside(out, Path(source_dir))
    if out.exists() and not out.is_dir():
        raise OutputError(f"{shown(out)}: is a file; give a folder for the results")
    with explain_os_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        entries = os.listdir(out)
    if entries and not is_ours(out):
        raise OutputError(
            f"{shown(out)}: exists and was not made by blemish ({len(entries)} entries); "
            "nothing was changed: give a new or empty folder"
        )
    if claim:
        _write_journal(out, _read_journal(out))
    return out


def is_ours(folder: Path) -> bool:
    """Whether a previous run, complete or not, wrote this folder."""
    return _read_run(folder) is not None or (folder / JOURNAL).is_file()


@contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into one line that names the file and the remedy."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        remedies = {
            errno.ENOSPC: "free some space or choose another folder with --out",
            errno.EDQUOT: "free some space or choose another folder with --out",
            errno.EACCES: "check its permissions or choose another folder with --out",
            errno.EPERM: "check its permissions or choose another folder with --out",
            errno.EROFS: "choose a folder on a writable disk",
            errno.ENOTDIR: "a file is in the way; choose another folder",
            errno.EEXIST: "something that is no folder is in the way; choose another folder",
        }
        remedy = remedies.get(error.errno or 0, "check the disk or choose another folder with --out")
        reason = error.strerror or type(error).__name__
        raise OutputError(f"{shown(path)}: cannot be written ({reason}); {remedy}") from error


def write_whole(target: Path, fill: Callable[[Path], None]) -> Path:
    """Let ``fill`` write ``NAME.partial`` beside the target, then rename it: readers never see half a file."""
    partial = target.with_name(target.name + ".partial")
    with explain_os_errors(target):
        try:
            fill(partial)
            os.replace(partial, target)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise
    return target


class OutputFolder:
    """The files of one run: entering removes those of the previous run, :meth:`finish` completes this one.

    Args:
        root: a folder that :func:`prepare_output` has returned.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: list[str] = []
        self._journal: TextIO | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> OutputFolder:
        _remove_previous(self.root)
        with explain_os_errors(self.root / JOURNAL):
            self._journal = open(self.root / JOURNAL, "a", encoding="ascii")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._journal is not None:
            with suppress(OSError):
                self._journal.close()

    def write(self, relative: str, fill: Callable[[Path], None]) -> Path:
        """Write one file of this run; see :func:`write_whole`. Several threads may write at a time.

        Args:
            relative: path below the folder, ``/`` as separator.
            fill: writes the content to the path that it is given.

        Raises:
            OutputError: a file that is not ours is in the way, or the disk refuses.
        """
        target = self.root / relative
        if os.path.lexists(target):
            raise OutputError(f"{shown(target)}: is in the way and not ours; move it or choose another folder")
        self._note(relative)
        with explain_os_errors(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
        return write_whole(target, fill)

    def finish(self, document: dict[str, object]) -> Path:
        """Write ``run.json`` with the list of files; from here on the run counts as complete."""
        listed = sorted({*self.files, RUN_FILE, REPORT_FILE})
        text = json.dumps({**document, "files": listed}, indent=2, allow_nan=False) + "\n"
        path = write_whole(self.root / RUN_FILE, lambda p: _dump(p, text))
        with suppress(OSError):
            (self.root / JOURNAL).unlink()
        return path

    def _note(self, relative: str) -> None:
        with self._lock:
            self.files.append(relative)
            if self._journal is not None:
                with explain_os_errors(self.root / JOURNAL):
                    self._journal.write(json.dumps(relative) + "\n")
                    self._journal.flush()  # a killed run must leave its list behind


def refuse_inside(out: Path, source: Path) -> None:
    """Raise OutputError if the output folder is the input folder or lies inside it; links are followed."""
    real_out, real_source = Path(os.path.realpath(out)), Path(os.path.realpath(source))
    if real_out == real_source or real_source in real_out.parents:
        relation = "is" if real_out == real_source else "lies inside"
        raise OutputError(
            f"{shown(out)}: {relation} the input folder {shown(source)}, where results would be taken for images; "
            "choose a folder outside it"
        )


def _read_run(folder: Path) -> dict[str, object] | None:
    try:
        document = json.loads((folder / RUN_FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and document.get("schema") == SCHEMA else None


def _read_journal(folder: Path) -> list[str]:
    """Files noted by an unfinished run; a last line cut short by a kill is dropped with its file, never written."""
    try:
        lines = (folder / JOURNAL).read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
    names: list[str] = []
    for line in lines[1:] if lines[:1] == [_HEADER] else []:
        with suppress(ValueError):
            name = json.loads(line)
            if isinstance(name, str):
                names.append(name)
    return names


def _write_journal(folder: Path, names: Iterable[str]) -> None:
    text = "".join(line + "\n" for line in (_HEADER, *(json.dumps(name) for name in names)))
    write_whole(folder / JOURNAL, lambda p: _dump(p, text))


def _dump(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _removable(name: object) -> bool:
    """Whether a listed name is one that we can have written: a list in a file from elsewhere is not to be trusted."""
    if not isinstance(name, str) or "\0" in name:
        return False
    if name in _TOP_FILES:
        return True
    path = PurePosixPath(name)
    parts = path.parts
    return len(parts) > 1 and not path.is_absolute() and ".." not in parts and path.suffix == _FOLDERS.get(parts[0])


def _remove_previous(root: Path) -> None:
    document = _read_run(root) or {}
    listed = document.get("files")
    candidates = [*(listed if isinstance(listed, list) else []), *_read_journal(root)]
    if document:
        candidates.insert(0, RUN_FILE)  # first, so that a kill from here on leaves an incomplete run
    names = [name for name in dict.fromkeys(n for n in candidates if isinstance(n, str)) if _removable(name)]
    _write_journal(root, names)
    real_root = Path(os.path.realpath(root))
    folders: set[Path] = set()
    for name in names:
        path = root / name
        if Path(os.path.realpath(path.parent)) != real_root / PurePosixPath(name).parent:
            continue  # a linked folder leads elsewhere: not ours
        for victim in (path, path.with_name(path.name + ".partial")):
            with explain_os_errors(victim), suppress(FileNotFoundError, NotADirectoryError):
                victim.unlink()
        folders.update(parent for parent in path.parents if root in parent.parents)
    for folder in sorted(folders, key=lambda p: len(p.parts), reverse=True):
        with suppress(OSError):  # not empty: something of the user's is in there
            folder.rmdir()
    _write_journal(root, [])
