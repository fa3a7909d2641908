from __future__ import annotations

import io
import sys

import pytest

from blemish.runtime.progress import Stage
from blemish.runtime.terminal import Bars


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def show(bars: Bars) -> None:
    with bars.stage(Stage.ANOMALY_MAPS, 7) as display:
        display.advance(3)
        display.advance()
    with bars.stage(Stage.CLUSTERING, 1, "2 of 3: "):
        pass


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    show(Bars(quiet=True))
    assert capsys.readouterr() == ("", "")


def test_quiet_prints_nothing_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    show(Bars(quiet=True))
    assert terminal.getvalue() == ""


def test_without_a_terminal_each_stage_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    show(Bars())
    captured = capsys.readouterr()
    assert captured.out == ""
    first, second = captured.err.splitlines()
    assert first.endswith("(7)")
    assert second.startswith("2 of 3: ")
    assert second.endswith("(1)")


def test_a_terminal_shows_bars_with_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    show(Bars())
    assert "4/7" in terminal.getvalue()


def test_the_display_ends_with_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), Bars().stage(Stage.READ, 1):
        raise ZeroDivisionError
    with Bars().stage(Stage.READ, 1) as display:  # a second display can start: the first one has stopped
        display.advance()
    assert len(capsys.readouterr().err.splitlines()) == 2
