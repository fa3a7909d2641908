from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

COMMANDS = sorted(
    path.stem for path in (Path(__file__).parents[2] / "benchmarks").glob("*.py") if not path.stem.startswith("_")
)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_started(name: str) -> None:
    assert callable(import_module(f"benchmarks.{name}").main)
