"""Listing the image files below a folder, and what is passed over there."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blemish.errors import InputError, shown
from blemish.images.finding.formats import HEAD_BYTES, sniff
from blemish.images.finding.places import Place, open_regular
from blemish.types import Skipped

IMAGE_SUFFIXES: tuple[str, ...] = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".avif"),
    *(".pbm", ".pgm", ".ppm", ".pnm", ".jp2", ".j2k", ".jpx"),
)
"""Suffixes of image files; lower case here, matched in any case. A file with one of them must be a readable image."""

MASK_FOLDERS = frozenset({"mask", "masks", "gt", "ground_truth", "groundtruth", "label", "labels"})
"""Names, in any case, of folders that hold masks of the images and no images to inspect."""

_HIDDEN, _NOT_IMAGE, _SPECIAL = "with a hidden name", "not an image", "not a regular file"
_MASKS, _RESULTS = "in a folder of masks", "in the results folder of an earlier run"


class NoImagesError(InputError):
    """A folder, or what takes its place, holds no image.

    Attributes:
        passed_over: what it holds.
    """

    def __init__(self, message: str, passed_over: list[Skipped]) -> None:
        super().__init__(message)
        self.passed_over = passed_over


class NothingReadableError(InputError):
    """None of the images can be read.

    Attributes:
        skipped: each of them, and why.
    """

    def __init__(self, message: str, skipped: list[Skipped]) -> None:
        super().__init__(message)
        self.skipped = skipped


@dataclass
class Listing:
    """The image files of a set.

    Attributes:
        images: the files, sorted by name.
        passed_over: files and folders that are not read, and why, sorted by name.
        names: name of each file. Below a folder, it is the path relative to the folder, with ``/`` as separator.
        skipped: files that are known to be unreadable already, such as the end of a tar file that was cut short.
    """

    images: list[Place] = field(default_factory=list)
    passed_over: list[Skipped] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)

    def part(self, index: int, count: int) -> Listing:
        """Every ``count``-th file, beginning with file ``index``, from 1.

        Raises:
            InputError: there are fewer files than ``index``.
        """
        if index > len(self.images):
            raise InputError(
                f"shard {index}/{count} has no image, because the set has {len(self.images)}; use fewer shards"
            )
        images, names, skipped = (one[index - 1 :: count] for one in (self.images, self.names, self.skipped))
        return Listing(images, self.passed_over, names, skipped)  # type: ignore[arg-type]


def find_images(folder: Path, *, exclude: Collection[Path] = ()) -> list[Path]:
    """All image files below a folder, sorted by their path relative to it; see :func:`list_images`."""
    return [one for one in list_images(folder, exclude=exclude).images if isinstance(one, Path)]


def list_images(folder: Path, *, exclude: Collection[Path] = ()) -> Listing:
    """All image files below a folder, and what is passed over.

    A file is an image if its first bytes are those of a known format, or if its suffix is in :data:`IMAGE_SUFFIXES`; in
    the second case the decoder names it if it is damaged. Broken links with such a suffix are listed for the same reason.

    Passed over are other files; hidden files and folders (leading dot); pipes, sockets and devices, which are never
    opened; results folders of earlier runs; and folders of masks (:data:`MASK_FOLDERS`). If nothing but such folders
    holds images, their images are taken. Linked folders are followed. Each real folder is entered once, so loops end.

    Args:
        folder: where to look, recursively.
        exclude: folders that are not entered, such as an output folder inside the input folder.

    Raises:
        InputError: the folder is missing, is a file, cannot be read, or holds no image.

    Cost: the first bytes of every file without an image suffix are read.
    """
    folder = Path(folder)
    try:
        status = folder.stat()
    except (OSError, ValueError) as error:
        raise InputError(_unlistable(folder, error)) from error
    if not stat.S_ISDIR(status.st_mode):
        raise InputError(
            f"{shown(folder)}: is a file; give the folder that holds the images, a tar file, or a manifest (CSV or Parquet)"
        )
    walk = _Walk(folder, exclude)
    return chosen(folder, [(path.relative_to(folder).as_posix(), path, reason) for path, reason in walk])


def chosen(where: object, seen: Sequence[tuple[str, Place, str | None]]) -> Listing:
    """A listing of the images among files, without masks; of the masks if there is nothing else.

    Args:
        where: what was searched, for the message.
        seen: name and place of each file, and the reason to pass it over; None for an image.

    Raises:
        NoImagesError: there is no image.
    """
    images = sorted(((name, place) for name, place, reason in seen if reason is None), key=lambda one: one[0])
    masks = [(name, place) for name, place in images if _in_masks(name)]
    passed_over = [Skipped(name, reason) for name, _, reason in seen if reason is not None]
    if len(masks) < len(images):
        images = [one for one in images if not _in_masks(one[0])]
        passed_over += [Skipped(name, _MASKS) for name, _ in masks]
    passed_over.sort(key=lambda one: one.path)
    if not images:
        raise NoImagesError(
            f"{shown(where)}: no images found ({len(passed_over)} other files seen); put images there, "
            f"such as {', '.join(('.png', '.jpg', '.tif', '.bmp', '.webp'))}",
            passed_over,
        )
    return Listing([place for _, place in images], passed_over, [name for name, _ in images])


def reason_by_name(name: str) -> str | None:
    """The reason to pass over a file that is not opened to see what it is; None if its name is that of an image."""
    if is_hidden(name):
        return _HIDDEN
    return None if name.lower().endswith(IMAGE_SUFFIXES) else _NOT_IMAGE


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder that it is in, has a name with a leading dot."""
    return any(part.startswith(".") for part in name.split("/"))


def describe_passed_over(passed_over: Collection[Skipped], examples: int = 3) -> str:
    """One line that counts what was passed over, by reason, with the first names of each.

    >>> describe_passed_over([Skipped("a.txt", "not an image"), Skipped(".b.png", "with a hidden name")])
    'passed over 2 files: 1 not an image (a.txt), 1 with a hidden name (.b.png)'
    """
    names: dict[str, list[str]] = {}
    for one in passed_over:
        names.setdefault(one.reason, []).append(shown(one.path))
    parts = [
        f"{len(listed)} {reason} ({', '.join(listed[:examples])}{', ...' if len(listed) > examples else ''})"
        for reason, listed in names.items()
    ]
    return f"passed over {len(passed_over)} {'file' if len(passed_over) == 1 else 'files'}: {', '.join(parts)}"


class _Walk:
    """Every file below a folder, with None if it is an image and otherwise the reason to pass it over."""

    def __init__(self, folder: Path, exclude: Collection[Path]) -> None:
        self._folder = folder
        self._seen: set[tuple[int, int]] = set()
        for path in exclude:
            if path.exists():
                self._seen.add(_identity(path))

    def __iter__(self) -> Iterator[tuple[Path, str | None]]:
        # real folders come before linked ones, so that a file is listed under its own name
        real, linked = [self._folder], list[Path]()
        while real or linked:
            is_real = bool(real)
            here = real.pop() if is_real else linked.pop(0)
            try:
                entries = sorted(os.scandir(here), key=lambda entry: entry.name)
                identity = _identity(here)
            except OSError as error:
                raise InputError(_unlistable(here, error)) from error
            if identity in self._seen:
                continue
            self._seen.add(identity)
            if here != self._folder and _in_results(here, entries, is_real):
                yield here, _RESULTS
                continue
            for entry in entries:
                path = here / entry.name
                if entry.name.startswith("."):
                    yield path, _HIDDEN
                    continue
                try:
                    mode = entry.stat().st_mode
                except OSError as error:
                    if error.errno not in (errno.ENOENT, errno.ELOOP):
                        raise InputError(_unlistable(here, error)) from error
                    mode = stat.S_IFREG  # a broken link or a loop: the decoder names it
                if stat.S_ISDIR(mode):
                    (linked if entry.is_symlink() else real).append(path)
                else:
                    yield path, _judge(path, mode)


def _judge(path: Path, mode: int) -> str | None:
    """None for an image, otherwise the reason to pass the file over."""
    if not stat.S_ISREG(mode):
        return _SPECIAL
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return _RESULTS if path.is_symlink() and _in_results(Path(os.path.realpath(path)).parent, None, False) else None
    try:
        with open_regular(path) as handle:
            return None if sniff(handle.read(HEAD_BYTES)) else _NOT_IMAGE
    except (OSError, InputError):
        return _NOT_IMAGE


def _in_masks(name: str) -> bool:
    return any(part.casefold() in MASK_FOLDERS for part in name.split("/")[:-1])


def _in_results(folder: Path, entries: list[os.DirEntry[str]] | None, is_real: bool) -> bool:
    """Whether a run has written its results here; a linked folder may also lie inside such a folder."""
    if entries is not None and is_real:
        return any(entry.name in ("run.json", ".blemish-files") for entry in entries) and _is_results(folder)
    real = Path(os.path.realpath(folder))
    return any(_is_results(one) for one in (real, *real.parents))


def _is_results(folder: Path) -> bool:
    """Whether a folder has the run.json of a run, or the list of files of a run that has not ended."""
    try:
        if (folder / ".blemish-files").is_file():
            return True
        with open_regular(folder / "run.json") as handle:
            return b'"schema": "blemish.run"' in handle.read(2**22)
    except (OSError, InputError):
        return False


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _unlistable(folder: Path, error: OSError | ValueError) -> str:
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.ENOENT:
        return f"{shown(folder)}: no such folder; check the path"
    remedy = "move the images to a shorter path" if code == errno.ENAMETOOLONG else "check its permissions"
    return f"{shown(folder)}: cannot be listed ({getattr(error, 'strerror', None) or error}); {remedy}"
