from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from blemish.cli.app import app
from blemish.runtime import health


@pytest.fixture(autouse=True)
def _healthy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine of the tests may lack does not count here."""
    for name in ("check_torchvision", "check_gpu", "check_processors"):
        monkeypatch.setattr(health, name, lambda name=name: health.Check(name, "fine"))
    monkeypatch.setattr(health, "LEAST_FREE_MB", 0)
    monkeypatch.setattr(health.check_folder, "__defaults__", (0,))


def test_a_sound_installation_has_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BLEMISH_CACHE", raising=False)
    (tmp_path / "entry").write_bytes(bytes(2_000_000))
    done = CliRunner().invoke(app, ["doctor", "--cache-dir", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "problem" not in done.output.replace("No problem found.", "")
    assert "cache size" in done.output
    assert "2 MB in 1 entries" in done.output


def test_each_problem_has_a_remedy_and_the_exit_code_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BLEMISH_SIZE", "7")
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "BLEMISH_SIZE" in done.output
    monkeypatch.setenv("BLEMISH_SIZE", "64")
    monkeypatch.setenv("BLEMISH_CACHE", "true")
    (tmp_path / "file").touch()
    done = CliRunner().invoke(app, ["doctor", "--cache-dir", str(tmp_path / "file")])
    assert done.exit_code == 1
    assert "to fix: choose another folder with --cache-dir, or use --no-cache" in done.output
    assert done.output.count("to fix: ") == done.output.count("\nproblem ") == 1
    assert "1 problem found." in done.output
