"""No test reads what another has left in the cache, or touches the user's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def _no_shared_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["BLEMISH_CACHE"] = "false"


@pytest.fixture(autouse=True)
def _own_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blemish.runtime.cache.default_folder", lambda: tmp_path / "cache")
