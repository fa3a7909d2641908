"""Lines and progress on stderr: bars on a terminal, one line per stage elsewhere."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from contextlib import AbstractContextManager
from typing import TextIO

from blemish.runtime.progress import Stage, StageDisplay

STAGE_TEXT: dict[Stage, str] = {
    Stage.READ: "Reading image headers",
    Stage.LOCALIZATION_MODEL: "Learning the normal texture",
    Stage.ANOMALY_MAPS: "Computing anomaly maps",
    Stage.CONTRASTIVE_HEADS: "Training contrastive heads",
    Stage.CLUSTERING: "Clustering",
    Stage.FILLED_MAPS: "Filling maps",
    Stage.REGIONS: "Typing regions",
    Stage.OUTPUT: "Writing results",
    Stage.SCORING: "Scoring",
}
"""What users see while a stage runs."""


def print_error(text: str) -> None:
    """Print a line on stderr. If stderr cannot be written, this line and all later ones are lost, and the run goes on."""
    if sys.stderr is None:
        return
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        discard(sys.stderr)


class LogLines(logging.Handler):
    """Writes warnings of this package on stderr, each text once, however many runs of one command repeat it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._written: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write the message, without time and name."""
        text = record.getMessage()
        if text not in self._written:
            self._written.add(text)
            print_error(text)


def discard(stream: TextIO) -> None:
    """Send everything that a standard stream still holds, and whatever is written to it later, to the null device."""
    with contextlib.suppress(OSError):  # OSError: a stream without a file, as in tests
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


class Bars:
    """A progress display on stderr; ``quiet`` shows nothing."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet

    def stage(self, stage: Stage, total: int, note: str = "") -> AbstractContextManager[StageDisplay]:
        """A display for one stage of the run; ``note`` is shown before its name."""
        return Bar(note + STAGE_TEXT[stage], total, self.quiet)


class Bar:
    """The display of one stage, shown while it is entered."""

    def __init__(self, text: str, total: int, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True, quiet=quiet)
        if not console.is_terminal:
            if not quiet:
                print_error(f"{text} ({total})")
            console.quiet = True
        columns = (TextColumn("{task.description:28}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console)
        self.task = self.bar.add_task(text, total=total)

    def __enter__(self) -> Bar:
        self.bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.bar.stop()

    def advance(self, n: int = 1) -> None:
        """Report that ``n`` more items are done."""
        self.bar.advance(self.task, n)
