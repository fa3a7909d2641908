"""How kernels are compiled. Importing this module imports Numba: only modules that are imported on first use do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_F = TypeVar("_F", bound=Callable[..., Any])


def jit(function: _F) -> _F:
    """Compile without the GIL and keep the machine code between runs, where a writable cache folder exists."""
    try:
        compiled: _F = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # Numba found no folder that it may write its cache to
        compiled = numba.njit(nogil=True)(function)
    return compiled
