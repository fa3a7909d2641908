"""Environment variables that libraries read when they are loaded. ``import blemish`` sets them before any of these loads."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

from blemish.runtime.processors import affine_processors, available_processors

PASSIVE_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
"""Variables with which threads of OpenMP (GNU and LLVM) sleep while they wait for work, in place of spinning."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""The number of threads of OpenMP, which torch uses, of OpenBLAS and of MKL. The last two fall back to the first."""


def prepare_environment(environment: MutableMapping[str, str] | None = None) -> None:
    """Set what makes parallel code fit for a shared machine, as far as the user has set nothing.

    - Threads that wait for work sleep. Spinning ones take the processor from other processes, and from the threads that
      they wait for.
    - If a control group allows fewer processors than the scheduler, OpenMP starts only that many threads. Without such a
      quota the libraries choose the number.

    A user's own value of one variable leaves its whole group alone. Once PyTorch is loaded nothing is set, because it has
    already read its variables. Child processes inherit the values. No result depends on how threads wait.

    Args:
        environment: default ``os.environ``.
    """
    values = os.environ if environment is None else environment
    if "torch" in sys.modules:
        return
    if not any(name in values for name in PASSIVE_WAITING):
        values.update(PASSIVE_WAITING)
    processors = available_processors()
    if processors < affine_processors() and not any(name in values for name in THREAD_VARIABLES):
        values["OMP_NUM_THREADS"] = str(processors)
