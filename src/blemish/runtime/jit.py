"""Compilation of kernels with Numba. Only modules that are imported on first use import this one, as Numba loads slowly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_F = TypeVar("_F", bound=Callable[..., Any])


def jit(function: _F) -> _F:
    """The compiled function, which releases the GIL; the machine code is kept between runs if a cache folder is writable."""
    try:
        compiled: _F = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # Numba found no folder that it may write its cache to
        compiled = numba.njit(nogil=True)(function)
    return compiled
