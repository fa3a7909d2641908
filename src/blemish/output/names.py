"""Names of the files that belong to an image: its map, mask and overlay."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from blemish.images import IMAGE_SUFFIXES, folder_of

MAX_NAME_BYTES = 200
"""Longest part of a path that we write. File systems allow 255 bytes; the rest is room for suffixes such as ``.tiff``."""

MAX_STEM_BYTES = 900
"""Longest path below the output folder. The whole path, with that of the folder, must stay below 4096 bytes."""


def file_stems(paths: Sequence[str]) -> list[str]:
    """One distinct path without suffix per image, for its map, mask and overlay.

    The suffix of an image is dropped. Where two images would then share a name (``a.png`` and ``a.jpg``, or ``A.png``
    on a disk that ignores case), all of them keep it: ``a.png``, ``a.jpg``. Names that still collide get ``~2``, ``~3``
    in the order of the images. The same holds for a name that a folder of images has. Absolute paths and ``..`` are
    changed so that they stay inside the folder. Names that are too long for a file system are cut and get a hash of the
    whole path. The rule reads names only, never the content of images.

    >>> file_stems(["cut/000.png", "hole/1.jpg", "hole/1.png"])
    ['cut/000', 'hole/1.jpg', 'hole/1.png']
    """
    whole = [_inside(path) for path in paths]
    stems = [_without_suffix(path) for path in whole]
    folders = {_key(str(parent)) for path in whole for parent in PurePosixPath(path).parents}
    while True:
        counts = Counter(_key(stem) for stem in stems)
        bad = {i for i, s in enumerate(stems) if counts[_key(s)] > 1 or _is_folder(s, folders)}
        if not any(stems[i] != whole[i] for i in bad):
            break
        for i in bad:
            stems[i] = whole[i]
    taken = {_key(s) for i, s in enumerate(stems) if i not in bad}
    for i in sorted(bad):
        stems[i] = _free_name(stems[i], taken, folders)
    return stems


def _key(name: str) -> str:
    """What two names have in common if some file system takes them for the same: letter case and composed accents."""
    return unicodedata.normalize("NFD", name).casefold()


def _is_folder(stem: str, folders: set[str]) -> bool:
    """Whether a file of this stem would have the name of a folder."""
    return any(_key(f"{stem}{suffix}") in folders for suffix in (".tiff", ".png", ".jpg"))


def _free_name(stem: str, taken: set[str], folders: set[str]) -> str:
    """The stem, with the first number that makes it distinct; the name is added to ``taken``."""
    name, number = stem, 1
    while _key(name) in taken or _is_folder(name, folders):
        number += 1
        name = f"{stem}~{number}"
    taken.add(_key(name))
    return name


def _inside(path: str) -> str:
    """A relative path without ``..``, short enough for a file system as a whole and in every part."""
    parts = [p for p in PurePosixPath(path).parts if p != "/"]
    inside = "/".join("__" if p == ".." else _short(p, path) for p in parts) or "image"
    if len(os.fsencode(inside)) > MAX_STEM_BYTES:
        return f"{_digest(path)}/{inside.rpartition('/')[2]}"
    return inside


def _short(part: str, path: str) -> str:
    """One part of a path, cut to ``MAX_NAME_BYTES`` and made distinct by a hash of the whole path."""
    if len(os.fsencode(part)) <= MAX_NAME_BYTES:
        return part
    suffix = PurePosixPath(part).suffix
    suffix = suffix if suffix.lower() in IMAGE_SUFFIXES else ""
    kept = os.fsencode(part)[: MAX_NAME_BYTES - 32].decode("utf-8", "ignore")
    return f"{kept}-{_digest(path)}{suffix}"


def _digest(path: str) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _without_suffix(path: str) -> str:
    """The path without the suffix of an image; dots alone are no name."""
    folder, slash, name = path.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    return folder + slash + stem if stem.strip(".") and (dot + suffix).lower() in IMAGE_SUFFIXES else path


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
    base = folder_of(source)
    folder = Path(os.path.abspath(base)) if isinstance(base, Path) else PurePosixPath(str(base))
    tops = {path.split("/")[0] if "/" in path else "" for path in paths}
    if tops <= {"train", "test"} and "test" in tops:
        return f"{folder.name}/"
    if folder.name == "test" and "" not in tops:
        return f"{folder.parent.name}/test/"
    return ""
