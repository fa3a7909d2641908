from __future__ import annotations

import sys

import numpy as np
import psutil
import pytest

from blemish.runtime import memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems return memory by themselves")
def test_freed_memory_between_used_blocks_returns_to_the_system() -> None:
    if memory._malloc_trim() is None:
        pytest.skip("this C library has no malloc_trim")
    process = psutil.Process()
    blocks = [np.ones(12_000) for _ in range(2000)]  # 96 KB each, from the heap
    peak = process.memory_info().rss
    freed = sum(block.nbytes for index, block in enumerate(blocks) if index % 10)
    blocks = blocks[::10]  # the remaining blocks keep the heap from shrinking by itself
    memory.release_freed_memory()
    assert process.memory_info().rss < peak - freed / 2
    assert all(block.sum() == 12_000 for block in blocks)


def test_nothing_happens_on_systems_without_malloc_trim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_malloc_trim", lambda: None)
    memory.release_freed_memory()
    monkeypatch.undo()
    memory._malloc_trim.cache_clear()
    monkeypatch.setattr(memory.sys, "platform", "darwin")
    assert memory._malloc_trim() is None
    memory._malloc_trim.cache_clear()
