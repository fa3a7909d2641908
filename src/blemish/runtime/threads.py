"""How many threads computations use, and what a run says if the system allows no more of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from blemish.errors import BlemishError, ConfigError

MAX_THREADS = 1024
"""A larger number of threads is refused: libraries end the process where the system runs out of them."""

_REFUSALS = ("can't start new thread", "Resource temporarily unavailable")
"""What Python and PyTorch say when the system allows no further thread."""


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch use a single thread inside the block, and restore the number afterwards.

    This suits loops over small matrices: they are too small to share, and on a busy machine threads that wait for one
    another make such a loop many times slower.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Let PyTorch, the compiled kernels and the BLAS use ``count`` threads inside the block; restore them afterwards.

    Raises:
        ConfigError: the count is not from 1 to ``MAX_THREADS``.
    """
    check_thread_count(count)
    import torch
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(threads)


def check_thread_count(count: int) -> None:
    """Refuse a number of threads that no machine is made for.

    Raises:
        ConfigError: the count is not from 1 to ``MAX_THREADS``.
    """
    if not 1 <= count <= MAX_THREADS:
        raise ConfigError(
            f"number of threads is {count}: give 1 to {MAX_THREADS}, best at most the number of processors"
        )


def ensure_threads(count: int) -> None:
    """Start ``count`` threads and end them again, because OpenMP ends the process if it cannot start one.

    Cost: about 0.1 ms per thread.

    Raises:
        BlemishError: the system does not allow so many more.
    """
    done = threading.Event()
    started: list[threading.Thread] = []
    try:
        with thread_errors_explained():
            for _ in range(count):
                one = threading.Thread(target=done.wait, daemon=True)
                one.start()
                started.append(one)
    finally:
        done.set()
        for one in started:
            one.join()


@contextmanager
def thread_errors_explained() -> Iterator[None]:
    """Turn the error of a thread that cannot be started into one that names the remedy.

    Raises:
        BlemishError: the system allows no further thread.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, BlemishError) or not any(text in str(error) for text in _REFUSALS):
            raise
        raise BlemishError(
            "the system allows no further thread: compute with fewer (--threads 1), end other processes of this user, "
            "or raise the limit (ulimit -u, or the pids limit of a container)"
        ) from error
