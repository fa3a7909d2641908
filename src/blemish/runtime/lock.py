"""A lock on a folder, so that two processes never write into it at the same time.

The lock belongs to the process and not to the file: the system releases it when the process ends, however it ends. A
lock file that a killed process has left behind therefore locks nothing, and the next process takes it over.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import socket
import stat
import sys
import weakref
from contextlib import suppress
from pathlib import Path

LOCK_FILE = ".blemish-lock"

_log = logging.getLogger(__name__)
_UNSUPPORTED = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL}
"""What some network file systems answer when they are asked for a lock."""


class FolderLocked(OSError):
    """Another process holds the lock.

    Attributes:
        holder: the process and its machine, such as ``process 4711 on bench3``; ``another process`` if unknown.
    """

    def __init__(self, path: Path, holder: str) -> None:
        super().__init__(errno.EWOULDBLOCK, f"locked by {holder}", str(path))
        self.holder = holder


class FolderLock:
    """An exclusive lock on a folder, held until :meth:`release` or the end of the process.

    Args:
        folder: an existing folder, in which the lock file is made.
        name: of the lock file. Locks of different names do not concern each other.

    Raises:
        FolderLocked: another process, or this one, holds the lock.
        OSError: the lock file cannot be written, or something else has its name. Links are not followed.

    Where the file system knows no locks, a warning is logged and nothing is locked.
    """

    def __init__(self, folder: Path, name: str = LOCK_FILE) -> None:
        self.path = folder / name
        file = self._open()
        while not _is_at(file, self.path):  # the former holder removed it between our opening and our locking
            os.close(file)
            file = self._open()
        self._release = weakref.finalize(self, _release, file, self.path, os.getpid())
        try:
            os.ftruncate(file, 0)
            os.lseek(file, 0, os.SEEK_SET)
            os.write(file, f"{os.getpid()} {socket.gethostname()}\n".encode("ascii", "replace"))
        except BaseException:
            self.release()
            raise

    def _open(self) -> int:
        """Open and lock the file."""
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        file = os.open(self.path, flags, 0o666)
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:  # a file with a second name is someone else's
                raise FileExistsError(errno.EEXIST, "something that is no lock file has its name", str(self.path))
            if not _try_lock(file):
                raise FolderLocked(self.path, _holder(file))
        except BaseException:
            os.close(file)
            raise
        return file

    def release(self) -> None:
        """Give the lock up and remove its file; a second call does nothing."""
        self._release()


def _release(file: int, path: Path, owner: int) -> None:
    with suppress(OSError):
        if os.getpid() == owner and _is_at(file, path):
            os.unlink(path)
    with suppress(OSError):
        os.close(file)


def _is_at(file: int, path: Path) -> bool:
    """Whether an open file still is the one that has this name."""
    try:
        return os.path.samestat(os.fstat(file), os.lstat(path))
    except OSError:
        return False


def _holder(file: int) -> str:
    with suppress(OSError):
        found = re.fullmatch(rb"(\d{1,10}) ([\w.-]{1,255})\n", os.pread(file, 300, 0) if hasattr(os, "pread") else b"")
        if found:
            return f"process {found[1].decode('ascii')} on {found[2].decode('ascii')}"
    return "another process"


def _try_lock(file: int) -> bool:
    """Lock an open file; False if another process holds it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(file, 2**30, os.SEEK_SET)  # far behind the content, which others may read
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            return False
        if error.errno not in _UNSUPPORTED:
            raise
        _log.warning("the file system cannot lock the output folder: do not start a second run into it")
    return True
