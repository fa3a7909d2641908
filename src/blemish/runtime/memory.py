"""Returns freed memory to the operating system, where the C library would keep it."""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):  # a C library other than glibc, which does not keep freed memory in this way
        return None


def release_freed_memory() -> None:
    """Return freed memory to the system; this does nothing where the C library has no ``malloc_trim``.

    Images of many sizes leave holes of many sizes behind, which glibc keeps: on 224 images of 100 shapes that was a
    quarter of the peak.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)
