"""A part of the hostile cases, and what the command that runs all of them takes for a failure."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from benchmarks import hostile
from benchmarks._hostile import READ, Case, array_cases, damaged, image_cases, name_cases, rng_of
from benchmarks._hostile_files import cache_cases, mask_cases, run_file_cases, settings_cases, table_cases
from benchmarks.hostile import ERROR, run_case
from blemish.errors import InputError

CASES = [
    case
    for cases in (
        image_cases,
        name_cases,
        array_cases,
        settings_cases,
        run_file_cases,
        cache_cases,
        table_cases,
        mask_cases,
    )
    for case in list(cases())[::5]
]


@pytest.mark.parametrize("kind", list(dict.fromkeys(case.kind for case in CASES)))
def test_a_fifth_of_the_cases_ends_well(kind: str, tmp_path: Path) -> None:
    outcomes = [run_case(case, tmp_path) for case in CASES if case.kind == kind]
    assert [f"{one.case.name}: {one.outcome} ({one.detail})" for one in outcomes if not one.sound] == []


def test_what_a_case_must_not_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hostile, "SECONDS", 1)

    def outcome(error: Exception | None, seconds: float = 0) -> str:
        def run(folder: Path) -> str:
            time.sleep(seconds)
            if error is not None:
                raise error
            return READ

        return run_case(Case("kind", "name", run), tmp_path).outcome

    assert outcome(None) == READ
    assert outcome(InputError("a.png: is empty")) == ERROR
    assert outcome(InputError("x" * 5000)) == "error too long"
    assert outcome(KeyError("x")) == "KeyError"
    assert outcome(None, seconds=3) == "TimeoutError"


def test_damage_is_the_same_at_every_run() -> None:
    content = bytes(range(200))
    draws = [damaged(content, rng_of("x", seed)) for seed in range(20)]
    assert draws == [damaged(content, rng_of("x", seed)) for seed in range(20)]
    assert all(one != content for one in draws)
    assert {len(one) == 200 for one in draws} == {True, False}
