"""The moment in which new results take the place of old ones."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from blemish.output.claims import JOURNAL, RUN_FILE, explain_os_errors, write_journal

_REMOVED = ".removed"
"""Folder for the old results within the hidden folder, until they are deleted."""


def exchange(root: Path, staging: Path, old: frozenset[str], new: frozenset[str]) -> None:
    """Move the new results in and the old ones out; whole folders at a time where all files in them are ours.

    Args:
        root: the output folder.
        staging: hidden folder in it that holds the new files; the old ones end up there too, to be deleted with it.
        old: relative paths of the files that may be removed.
        new: relative paths of the new files, ``run.json`` among them, whose names are free or old.

    Raises:
        OSError, OutputError: the system refused.
    """
    write_journal(root, sorted(old | new))
    (staging / _REMOVED).mkdir()
    with suppress(FileNotFoundError):
        os.unlink(root / RUN_FILE)  # from here on the old run counts as incomplete
    for top in sorted({PurePosixPath(name).parts[0] for name in old | new} - {RUN_FILE}):
        target, staged = root / top, staging / top
        if _holds_only(root, target, old):
            os.replace(target, staging / _REMOVED / top)
        else:
            _remove_files(root, _below(top, old) - new)
        if not target.exists() and os.path.lexists(staged):
            os.replace(staged, target)
        for name in _below(top, new) if staged.is_dir() else ():
            _move(staging / name, root / name)
    os.replace(staging / RUN_FILE, root / RUN_FILE)  # from here on the new run counts as complete
    with suppress(FileNotFoundError):
        os.unlink(root / JOURNAL)


def _below(top: str, names: Iterable[str]) -> set[str]:
    return {name for name in names if name.startswith(f"{top}/")}


def _holds_only(root: Path, target: Path, names: Collection[str]) -> bool:
    """Whether this is one of these files, or a folder that holds some of them and nothing else."""
    if not target.is_dir() or target.is_symlink():
        return target.relative_to(root).as_posix() in names and os.path.lexists(target)
    return all(
        (folders or files)
        and all((Path(here) / file).relative_to(root).as_posix() in names for file in files)
        and not any((Path(here) / folder).is_symlink() for folder in folders)
        for here, folders, files in os.walk(target)
    )


def _remove_files(root: Path, names: Iterable[str]) -> None:
    """Remove listed files, and folders that are empty then."""
    real_root = Path(os.path.realpath(root))
    folders: set[Path] = set()
    for name in names:
        path = root / name
        if Path(os.path.realpath(path.parent)) != real_root / PurePosixPath(name).parent:
            continue  # a linked folder leads elsewhere: its files are not ours
        with explain_os_errors(path), suppress(FileNotFoundError, NotADirectoryError):
            path.unlink()
        folders.update(parent for parent in path.parents if root in parent.parents)
    for folder in sorted(folders, key=lambda p: len(p.parts), reverse=True):
        with suppress(OSError):  # not empty: something of the user's is in there
            folder.rmdir()


def _move(source: Path, target: Path) -> None:
    """Put a new file in its place, where a tree of empty folders may be."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() and not target.is_symlink():
        for folder, _, _ in os.walk(target, topdown=False):
            os.rmdir(folder)
    os.replace(source, target)
