"""Listing the image files below a folder."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

from blemish.errors import InputError, shown

IMAGE_SUFFIXES: tuple[str, ...] = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
"""Suffixes that :func:`find_images` looks for; lower case here, matched in any case."""


def find_images(folder: Path, *, exclude: Collection[Path] = ()) -> list[Path]:
    """All image files below a folder, sorted by their path relative to it.

    Hidden files and folders (leading dot) are left out, and only the suffix decides what counts as an image file.
    Linked folders are followed. Each real folder is entered once, so loops end. Broken links with an image suffix are
    listed, so that the decoder can name them.

    Args:
        folder: where to look, recursively.
        exclude: folders that are not entered, such as an output folder inside the input folder.

    Returns:
        Paths that start with ``folder``, ordered by relative path with ``/`` as separator, code point by code point.

    Raises:
        InputError: the folder is missing, is a file, cannot be read, or holds no image.
    """
    folder = Path(folder)
    if not folder.exists():
        raise InputError(f"{shown(folder)}: no such folder; check the path")
    if not folder.is_dir():
        raise InputError(f"{shown(folder)}: is a file; give the folder that holds the images")
    images: list[Path] = []
    others = 0
    for path in _walk(folder, {os.path.realpath(p) for p in exclude}):
        if path.suffix.lower() in IMAGE_SUFFIXES:
            images.append(path)
        else:
            others += 1
    if not images:
        kinds = ", ".join(IMAGE_SUFFIXES)
        raise InputError(
            f"{shown(folder)}: no images found ({others} other files seen); put files ending in {kinds} there"
        )
    return sorted(images, key=lambda p: p.relative_to(folder).as_posix())


def _walk(folder: Path, seen: set[str]) -> Iterator[Path]:
    """Every visible file; real folders come before linked ones, so that a file is listed under its own name."""
    real, linked = [folder], list[Path]()
    while real or linked:
        here = real.pop() if real else linked.pop(0)
        key = os.path.realpath(here)
        if key in seen:
            continue
        seen.add(key)
        try:
            entries = sorted(os.scandir(here), key=lambda e: e.name)
        except OSError as error:
            raise InputError(f"{shown(here)}: cannot be listed ({error.strerror}); check its permissions") from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path = here / entry.name
            if path.is_dir():
                (linked if entry.is_symlink() else real).append(path)
            elif entry.is_symlink() or entry.is_file():
                yield path
