"""The stages of a run by name, how long each took, and how a display is told of its progress."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from enum import StrEnum
from typing import Protocol

from blemish.runtime.threads import thread_errors_explained


class Stage(StrEnum):
    """Identifier of a stage, in progress calls and in the timings of ``run.json``. Displays choose their own words."""

    READ = "read"
    LOCALIZATION_MODEL = "localization_model"
    ANOMALY_MAPS = "anomaly_maps"
    CONTRASTIVE_HEADS = "contrastive_heads"
    CLUSTERING = "clustering"
    FILLED_MAPS = "filled_maps"
    REGIONS = "regions"
    OUTPUT = "output"
    SCORING = "scoring"


Advance = Callable[[int], None]
"""Called with the number of further items that are done."""


class StageDisplay(Protocol):
    """What a progress display offers for one stage."""

    def advance(self, n: int = 1) -> None:
        """Report that ``n`` more items are done."""


class Progress(Protocol):
    """A progress display, such as the bars of the command line."""

    def stage(self, stage: Stage, total: int, note: str = "") -> AbstractContextManager[StageDisplay]:
        """A display for one stage of ``total`` items, shown while it is entered; ``note`` is shown before its name."""


class SilentProgress:
    """A display that shows nothing."""

    def advance(self, n: int = 1) -> None:
        """Ignore the progress."""

    def stage(self, stage: Stage, total: int, note: str = "") -> AbstractContextManager[StageDisplay]:
        """A silent display."""
        return nullcontext(self)


class StageTimer:
    """Shows and times the stages of a run.

    Attributes:
        timings: stage -> seconds, rounded to milliseconds, of the stages that have ended.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self.timings: dict[str, float] = {}
        self._progress = progress or SilentProgress()

    @contextmanager
    def stage(self, stage: Stage, total: int = 1) -> Iterator[Advance]:
        """Show and time a stage; the value is a function that reports how many more of its items are done.

        Raises:
            BlemishError: the system allows no further thread. Every other error inside the stage passes through.
        """
        start = time.perf_counter()
        with thread_errors_explained(), self._progress.stage(stage, total) as display:
            yield display.advance
        self.timings[stage.value] = round(time.perf_counter() - start, 3)
