from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch

from blemish.errors import BlemishError, ConfigError
from blemish.runtime.threads import check_thread_count, ensure_threads, limited_threads, one_thread


@pytest.mark.parametrize(("block", "inside"), [(one_thread, 1), (lambda: limited_threads(3), 3)])
def test_the_number_of_threads_holds_inside_the_block_and_comes_back_after_it(
    block: Callable[[], AbstractContextManager[None]], inside: int
) -> None:
    before = torch.get_num_threads()
    with block():
        assert torch.get_num_threads() == inside
    assert torch.get_num_threads() == before
    with pytest.raises(ValueError, match="inside"), block():
        raise ValueError("inside")
    assert torch.get_num_threads() == before


def test_limited_threads_hold_for_the_blas() -> None:
    from threadpoolctl import threadpool_info

    with limited_threads(1):
        assert {pool["num_threads"] for pool in threadpool_info()} <= {1}


@pytest.mark.parametrize("count", [-1, 0, 10**6, 10**18])
def test_numbers_of_threads_that_no_machine_has_are_refused(count: int) -> None:
    with pytest.raises(ConfigError, match="number of threads"):
        check_thread_count(count)
    with pytest.raises(ConfigError, match="number of threads"), limited_threads(count):
        pass


def test_ordinary_numbers_of_threads_are_accepted() -> None:
    for count in (1, 2, 64, 256):
        check_thread_count(count)


def test_threads_that_were_started_as_a_test_end_again() -> None:
    before = threading.active_count()
    ensure_threads(20)
    assert threading.active_count() == before


def test_a_refused_thread_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    before, real, left = threading.active_count(), threading.Thread.start, [3]

    def start(self: threading.Thread) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("can't start new thread")
        real(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(BlemishError, match=r"--threads.*ulimit -u"):
        ensure_threads(10)
    assert threading.active_count() == before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space")
def test_a_system_without_room_for_threads_is_named() -> None:
    code = """
import resource
from blemish.errors import BlemishError
from blemish.runtime.threads import ensure_threads
ensure_threads(2)
resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
try:
    ensure_threads(500)
except BlemishError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "no further thread" in done.stdout
