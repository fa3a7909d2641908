from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from blemish.errors import BlemishError
from blemish.runtime.progress import SilentProgress, Stage, StageTimer


class Recorder:
    """A display that records what it is told."""

    def __init__(self) -> None:
        self.events: list[object] = []

    def advance(self, n: int = 1) -> None:
        self.events.append(n)

    @contextmanager
    def stage(self, stage: Stage, total: int, note: str = "") -> Iterator[Recorder]:
        self.events.append((stage, total, note))
        try:
            yield self
        finally:
            self.events.append("end")


def test_a_stage_is_timed_and_its_progress_reported() -> None:
    display = Recorder()
    timer = StageTimer(display)
    with timer.stage(Stage.ANOMALY_MAPS, 5) as advance:
        advance(2)
        time.sleep(0.05)
        advance(3)
    with timer.stage(Stage.CLUSTERING) as advance:
        advance(1)
    assert display.events == [(Stage.ANOMALY_MAPS, 5, ""), 2, 3, "end", (Stage.CLUSTERING, 1, ""), 1, "end"]
    assert list(timer.timings) == ["anomaly_maps", "clustering"]
    assert 0.05 <= timer.timings["anomaly_maps"] < 5
    assert timer.timings["clustering"] < 0.05


def test_an_error_inside_a_stage_passes_through_and_leaves_no_timing() -> None:
    display = Recorder()
    timer = StageTimer(display)
    with pytest.raises(ZeroDivisionError), timer.stage(Stage.READ):
        raise ZeroDivisionError
    assert display.events[-1] == "end"
    assert timer.timings == {}


def test_a_thread_that_cannot_be_started_is_named_with_a_remedy() -> None:
    with pytest.raises(BlemishError, match=r"--threads 1.*ulimit -u"), StageTimer().stage(Stage.READ):
        raise RuntimeError("can't start new thread")
    with pytest.raises(RuntimeError, match="shape"), StageTimer().stage(Stage.READ):
        raise RuntimeError("shape mismatch")


def test_without_a_display_progress_is_ignored(capsys: pytest.CaptureFixture[str]) -> None:
    timer = StageTimer()
    with timer.stage(Stage.OUTPUT, 2) as advance:
        advance(2)
    with SilentProgress().stage(Stage.READ, 1, "note") as display:
        display.advance()
    assert capsys.readouterr() == ("", "")
    assert list(timer.timings) == ["output"]


def test_every_stage_has_a_text_for_users() -> None:
    from blemish.runtime.terminal import STAGE_TEXT

    assert set(STAGE_TEXT) == set(Stage)
    assert len(set(STAGE_TEXT.values())) == len(Stage)
