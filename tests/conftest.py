"""Every test has a cache folder of its own; tests on the image sets beside the repository are marked and counted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"
"""Development data beside the repository: image sets and weights that are no part of it."""


@pytest.fixture(autouse=True, scope="session")
def _no_shared_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["BLEMISH_CACHE"] = "false"


@pytest.fixture(autouse=True)
def _own_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blemish.runtime.cache.default_folder", lambda: tmp_path / "cache")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not SHARED.is_dir():
        for item in items:
            if item.get_closest_marker("shared"):
                item.add_marker(pytest.mark.skip(reason="needs the folder 'shared' beside the repository"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests needed the folder ``shared``, and how many of these ran."""
    reports = {
        outcome: sum("shared" in report.keywords for report in terminalreporter.getreports(outcome))
        for outcome in ("passed", "failed", "skipped")
    }
    if total := sum(reports.values()):
        parts = ", ".join(f"{count} {outcome}" for outcome, count in reports.items() if count)
        terminalreporter.write_line(f"{total} tests need the folder 'shared' beside the repository: {parts}")
