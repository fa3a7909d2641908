"""Number of threads that PyTorch uses."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Let PyTorch use a single thread inside the block, and restore the number afterwards.

    This suits loops over small matrices: they are too small to share, and on a busy machine threads that wait for one
    another make such a loop many times slower.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
