from __future__ import annotations

import sys

import numpy as np
import psutil
import pytest

from blemish.runtime import memory as _memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems hand memory back by themselves")
def test_memory_between_what_is_in_use_goes_back() -> None:
    if _memory._malloc_trim() is None:
        pytest.skip("this C library has no malloc_trim")
    process = psutil.Process()
    blocks = [np.ones(12_000) for _ in range(2000)]  # 96 KB each, from the heap
    peak = process.memory_info().rss
    freed = sum(block.nbytes for index, block in enumerate(blocks) if index % 10)
    blocks = blocks[::10]  # what stays pins the heap down
    _memory.release_freed_memory()
    assert process.memory_info().rss < peak - freed / 2
    assert all(block.sum() == 12_000 for block in blocks)


def test_without_a_way_to_hand_back_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_memory, "_malloc_trim", lambda: None)
    _memory.release_freed_memory()
    monkeypatch.undo()
    _memory._malloc_trim.cache_clear()
    monkeypatch.setattr(_memory.sys, "platform", "darwin")
    assert _memory._malloc_trim() is None
    _memory._malloc_trim.cache_clear()
