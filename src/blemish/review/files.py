"""The files of a results folder that the page may load, and no others."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

SCRIPTS = "report_files"
"""The only folder whose scripts are served: the chart library of the report."""

CONTENT_TYPES = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".tiff": "image/tiff",
    ".js": "text/javascript",
}
"""Suffixes that are served."""

SERVED_FOLDERS = frozenset({"overlays", "maps", "anomaly_maps", "masks", SCRIPTS})
"""Folders that are served; the model is not."""

_CHUNK = 2**18


def open_file(root: Path, url_path: bytes) -> tuple[BinaryIO, str] | None:
    """Open a file for the page.

    Args:
        root: the results folder.
        url_path: path of the request as it was sent, without the leading slash; each ``%XX`` is decoded once.

    Returns:
        The stream and its content type; None for everything that the page has no business with: other folders, other
        suffixes, ``..``, links at any place, devices, pipes.
    """
    name = os.fsdecode(unquote_to_bytes(url_path))
    parts = name.split("/")
    suffix = os.path.splitext(name)[1].lower()
    if (
        len(parts) < 2
        or parts[0] not in SERVED_FOLDERS
        or suffix not in CONTENT_TYPES
        or (suffix == ".js" and parts[0] != SCRIPTS)
        or any(part in ("", ".", "..") or "\0" in part for part in parts)
        or (os.sep == "\\" and ("\\" in name or ":" in name))
    ):
        return None
    path = root.joinpath(*parts)
    try:
        if os.path.realpath(path) != os.path.join(os.path.realpath(root), *parts):
            return None  # a link leads elsewhere
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        file = os.open(path, flags)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        return None
    return open(file, "rb"), CONTENT_TYPES[suffix]


def chunks(stream: BinaryIO) -> Iterator[bytes]:
    """The content of a file, piece by piece; the file is closed at the end."""
    with stream:
        while piece := stream.read(_CHUNK):
            yield piece
