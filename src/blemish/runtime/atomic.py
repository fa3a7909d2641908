"""Files that appear whole or not at all, and that never end up where a link leads."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

PARTIAL_PREFIX, PARTIAL_SUFFIX = ".blemish-", ".partial"
"""Names of unfinished files: the prefix, 16 random hexadecimal digits, the suffix. A killed process leaves one behind."""


def write_atomically(path: Path | str, writer: Callable[[BinaryIO], object]) -> Path:
    """Write a file so that others see its old content or its new content, and never a part of either.

    The content goes to a new file of a random name in the same folder, which then takes the place of ``path``. A link
    at ``path`` is replaced and not followed. Other users may read the file as the process's umask allows.

    Args:
        path: the file; its folder must exist.
        writer: writes the content to the binary stream that it is given. The stream can seek.

    Returns:
        The path.

    Raises:
        OSError: the system refused; the old file is untouched, and the new one is removed. The same holds for every
            exception of the writer.
    """
    path = Path(path)
    partial = path.with_name(f"{PARTIAL_PREFIX}{secrets.token_hex(8)}{PARTIAL_SUFFIX}")
    stream = create_file(partial)
    try:
        with stream:
            writer(stream)
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise
    return path


def create_file(path: Path | str) -> BinaryIO:
    """Binary stream of a new file, for writing; the system refuses if anything has that name, even a broken link.

    Raises:
        FileExistsError: the name is taken. OSError: the system refused for another reason.
    """

    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)

    return open(path, "x+b", opener=opener)


def is_partial(name: str) -> bool:
    """Whether a file name is one that :func:`write_atomically` gives to an unfinished file."""
    digits = name[len(PARTIAL_PREFIX) : -len(PARTIAL_SUFFIX)]
    return (
        name.startswith(PARTIAL_PREFIX)
        and name.endswith(PARTIAL_SUFFIX)
        and len(digits) == 16
        and set(digits) <= set("0123456789abcdef")
    )
