"""What makes an output folder ours: its name, its list of files, and the journal of an unfinished exchange."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from blemish.errors import OutputError, shown
from blemish.output.run_file import SCHEMA
from blemish.runtime.atomic import is_partial, write_atomically
from blemish.runtime.files import read_regular
from blemish.runtime.lock import LOCK_FILE

RUN_FILE = "run.json"
REPORT_FILE = "report.html"
REPORT_DATA_FILE = "report.json"
JOURNAL = ".blemish-files"
STAGING_PREFIX = ".blemish-new-"

MAX_FOLDER_BYTES = 2800
"""Longest path of an output folder. Systems allow 4096 bytes; the rest is room for the names of files in it."""

_MAX_LIST_BYTES = 2**30
"""Size up to which ``run.json`` and the journal are read: more than three files each for some millions of images take."""

_HEADER = json.dumps({"schema": "blemish.files", "version": 1})
FOLDERS: dict[str, str | tuple[str, ...]] = {
    "maps": ".tiff",
    "anomaly_maps": ".tiff",
    "masks": ".png",
    "overlays": ".jpg",
    "model": (".safetensors", ".json"),
    "report_files": (".jpg", ".png", ".js"),
}
DATA_FILES = frozenset({"images.parquet", "groups.csv", "regions.parquet", "descriptors.npy"})
"""The files that results are read back from; ``run.json`` has their checksums."""

TOP_FILES = DATA_FILES | frozenset(
    {RUN_FILE, REPORT_FILE, REPORT_DATA_FILE, "images.csv", "regions.csv", "next_to_check.csv"}
)

_OTHER_FOLDER = "choose another folder with --out"
_REMEDIES = {
    errno.ENOSPC: f"free some space or {_OTHER_FOLDER}",
    errno.EDQUOT: f"free some space or {_OTHER_FOLDER}",
    errno.EFBIG: "raise the limit for file sizes (ulimit -f)",
    errno.EACCES: f"check its permissions or {_OTHER_FOLDER}",
    errno.EPERM: f"check its permissions or {_OTHER_FOLDER}",
    errno.EROFS: "choose a folder on a writable disk",
    errno.ENOTDIR: "a file is in the way; choose another folder",
    errno.EEXIST: "something else has its name; move it or choose another folder",
    errno.ELOOP: "a link is in the way; remove it or choose another folder",
    errno.ENAMETOOLONG: "choose a folder with a shorter name",
}


@contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into an OutputError of one line that names the file and the remedy."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, f"check the disk or {_OTHER_FOLDER}")
        reason = error.strerror or shown(str(error))[:200] or type(error).__name__
        raise OutputError(f"{short(path)}: cannot be written ({reason}); {remedy}") from error


def short(path: Path | str) -> str:
    """A path as text for a message: control characters escaped, the middle of a very long one left out."""
    text = shown(str(path))
    return text if len(text) <= 300 else f"{text[:140]}...{text[-140:]}"


def check_length(out: Path | str) -> None:
    """Raise OutputError if a path cannot be the name of an output folder."""
    try:
        encoded = os.fsencode(out)
    except UnicodeEncodeError:
        raise OutputError(f"{short(out)}: is not a valid name of a folder; choose another one with --out") from None
    longest = max(len(os.fsencode(part)) for part in Path(out).parts or ("",))
    if b"\0" in encoded:
        raise OutputError(f"{short(out)}: a name of a folder holds no NUL character; choose another one with --out")
    if len(encoded) > MAX_FOLDER_BYTES or longest > 255:
        limit = f"{len(encoded)} bytes, at most {MAX_FOLDER_BYTES}" if longest <= 255 else f"a part has {longest} bytes"
        raise OutputError(f"{short(out)}: is too long ({limit}); choose a folder with a shorter name")


def refuse_inside(out: Path, source: Path) -> None:
    """Raise OutputError if the output folder is the input folder or lies inside it; links are followed."""
    real_out = Path(os.path.realpath(out))
    inside = next((one for one in (real_out, *real_out.parents) if _is_same(one, source)), None)
    if inside is not None:
        relation = "is" if inside == real_out else "lies inside"
        raise OutputError(
            f"{short(out)}: {relation} the input folder {short(source)}, where results would be taken for images; "
            "choose a folder outside it"
        )


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return one == Path(os.path.realpath(other))


def is_ours(folder: Path, entries: Iterable[str]) -> bool:
    """Whether a folder with these entries is empty, or a previous run, complete or not, wrote it."""
    hidden = {LOCK_FILE, *hidden_files(folder)}
    return (
        all(entry in hidden for entry in entries) or read_run(folder) is not None or _read_journal(folder) is not None
    )


def hidden_files(folder: Path) -> list[str]:
    """Names of the unfinished files and folders that a killed run has left in a folder."""
    return [name for name in os.listdir(folder) if name.startswith(STAGING_PREFIX) or is_partial(name)]


def listed_files(folder: Path) -> list[str]:
    """The files of previous runs, complete or not: those that may be replaced or removed."""
    document = read_run(folder) or {}
    listed = document.get("files")
    names = [*(listed if isinstance(listed, list) else []), *(_read_journal(folder) or [])]
    names += [RUN_FILE] if document else []
    return [name for name in dict.fromkeys(n for n in names if isinstance(n, str)) if _removable(name)]


def read_run(folder: Path) -> dict[str, object] | None:
    """Content of our ``run.json``; None if there is none, or only one that is not ours."""
    try:
        document = json.loads(read_regular(folder / RUN_FILE, _MAX_LIST_BYTES, follow=False))
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) and document.get("schema") == SCHEMA else None


def _read_journal(folder: Path) -> list[str] | None:
    """Files of an unfinished exchange; None if there is no journal of ours."""
    try:
        lines = read_regular(folder / JOURNAL, _MAX_LIST_BYTES, follow=False).decode("ascii", "replace").splitlines()
    except OSError:
        return None
    if lines[:1] != [_HEADER]:
        return None
    names: list[str] = []
    for line in lines[1:]:
        with suppress(ValueError, RecursionError):
            name = json.loads(line)
            if isinstance(name, str):
                names.append(name)
    return names


def write_journal(folder: Path, names: Iterable[str]) -> None:
    """List the files that the next run may remove if this one does not end."""
    text = "".join(line + "\n" for line in (_HEADER, *(json.dumps(name) for name in names)))
    write_atomically(folder / JOURNAL, lambda stream: stream.write(text.encode("ascii")))


def _removable(name: str) -> bool:
    """Whether a listed name is one that we can have written: a list in a file from elsewhere is not to be trusted."""
    if name in TOP_FILES:
        return True
    path = PurePosixPath(name)
    parts = path.parts
    foreign = "\0" in name or path.is_absolute() or ".." in parts or (os.sep == "\\" and ("\\" in name or ":" in name))
    return len(parts) > 1 and not foreign and parts[0] in FOLDERS and name.endswith(FOLDERS[parts[0]])
