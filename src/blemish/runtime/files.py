"""Reading files whose kind and size are not to be trusted."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_regular(path: Path | str, most: int, *, follow: bool = True) -> bytes:
    """Content of a regular file of limited size; a pipe or a device is refused without waiting for it.

    Args:
        path: the file.
        most: largest size in bytes.
        follow: also read a file that the path is a link to.

    Raises:
        OSError: the system refused, or the file is not regular or too large; ``strerror`` says which.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags if follow else flags | getattr(os, "O_NOFOLLOW", 0))
    with open(handle, "rb") as stream:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        if status.st_size > most:
            raise OSError(errno.EFBIG, f"it is larger than {most / 1e6:g} MB", str(path))
        return stream.read(status.st_size)  # a larger number would be allocated, whatever the file holds
