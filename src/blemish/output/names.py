"""Names of the files that belong to an image: its map, mask and overlay."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from blemish.images.loading import IMAGE_SUFFIXES

MAX_NAME_BYTES = 200
"""Longest part of a path that we write. File systems allow 255 bytes; the rest is room for suffixes such as ``.tiff``."""


def file_stems(paths: Sequence[str]) -> list[str]:
    """One distinct path without suffix per image, for its map, mask and overlay.

    The suffix of an image is dropped. Where two images would then share a name (``a.png`` and ``a.jpg``, or ``A.png``
    on a disk that ignores case), all of them keep it: ``a.png``, ``a.jpg``. Names that still collide get ``~2``, ``~3``
    in the order of the images. The same holds for a name that a folder of images has. Absolute paths and ``..`` are
    changed so that they stay inside the folder. Names that are too long for a file system are cut and end in a hash of
    the whole path. The rule reads names only, never the content of images.

    >>> file_stems(["cut/000.png", "hole/1.jpg", "hole/1.png"])
    ['cut/000', 'hole/1.jpg', 'hole/1.png']
    """
    whole = [_inside(path) for path in paths]
    stems = [_without_suffix(path) for path in whole]
    folders = {str(parent).casefold() for path in whole for parent in PurePosixPath(path).parents}
    while True:
        counts = Counter(stem.casefold() for stem in stems)
        bad = {i for i, s in enumerate(stems) if counts[s.casefold()] > 1 or _is_folder(s, folders)}
        if not any(stems[i] != whole[i] for i in bad):
            break
        for i in bad:
            stems[i] = whole[i]
    taken = {s.casefold() for i, s in enumerate(stems) if i not in bad}
    for i in sorted(bad):
        stems[i] = _free_name(stems[i], taken, folders)
    return stems


def _is_folder(stem: str, folders: set[str]) -> bool:
    """Whether a file of this stem would have the name of a folder."""
    return any(f"{stem}{suffix}".casefold() in folders for suffix in (".tiff", ".png", ".jpg"))


def _free_name(stem: str, taken: set[str], folders: set[str]) -> str:
    """The stem, with the first number that makes it distinct; the name is added to ``taken``."""
    name, number = stem, 1
    while name.casefold() in taken or _is_folder(name, folders):
        number += 1
        name = f"{stem}~{number}"
    taken.add(name.casefold())
    return name


def _inside(path: str) -> str:
    """A relative path without ``..`` whose parts are short enough for a file system."""
    parts = [p for p in PurePosixPath(path).parts if p != "/"]
    return "/".join("__" if p == ".." else _short(p, path) for p in parts) or "image"


def _short(part: str, path: str) -> str:
    """One part of a path, cut to ``MAX_NAME_BYTES`` and made distinct by a hash of the whole path."""
    if len(os.fsencode(part)) <= MAX_NAME_BYTES:
        return part
    suffix = PurePosixPath(part).suffix
    suffix = suffix if suffix.lower() in IMAGE_SUFFIXES else ""
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    kept = os.fsencode(part)[: MAX_NAME_BYTES - 32].decode("utf-8", "ignore")
    return f"{kept}-{digest}{suffix}"


def _without_suffix(path: str) -> str:
    pure = PurePosixPath(path)
    return str(pure.with_suffix("")) if pure.suffix.lower() in IMAGE_SUFFIXES else path


def evaluation_prefix(source: str | None, paths: Sequence[str]) -> str:
    """Folders to put before relative paths, so that they read ``<category>/test/<type>/<name>``.

    MVTec's evaluation scripts expect this tree. The input folder may be the data set (nothing is missing), one
    category, or its ``test`` folder. Any other layout is kept as it is.

    >>> evaluation_prefix("data/leather", ["test/cut/000.png"])
    'leather/'
    >>> evaluation_prefix("data/leather/test", ["cut/000.png", "good/000.png"])
    'leather/test/'
    >>> evaluation_prefix("photos", ["a.png"])
    ''
    """
    if source is None:
        return ""
    folder = Path(os.path.abspath(source))
    tops = {path.split("/")[0] if "/" in path else "" for path in paths}
    if tops <= {"train", "test"} and "test" in tops:
        return f"{folder.name}/"
    if folder.name == "test" and "" not in tops:
        return f"{folder.parent.name}/test/"
    return ""
