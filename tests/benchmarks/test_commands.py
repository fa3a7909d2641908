"""The benchmark commands name settings that exist, and options that the command line takes."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path

import pytest

from benchmarks._scoring import configuration
from benchmarks.defaults import ROWS, assignments
from benchmarks.reruns import RUNS


@pytest.mark.parametrize("row", ROWS)
def test_every_changed_default_is_a_setting_with_another_value(row: str, tmp_path: Path) -> None:
    defaults, changed = configuration(tmp_path), configuration(tmp_path, assignments(row))
    for one in assignments(row):
        key, _, _ = one.partition("=")
        assert attrgetter(key)(changed) != attrgetter(key)(defaults), one


@pytest.mark.parametrize("options", [options for _, options in RUNS if "--set" in options])
def test_every_rerun_changes_a_setting_that_exists(options: tuple[str, ...], tmp_path: Path) -> None:
    configuration(tmp_path, [one for one in options if one != "--set"])
