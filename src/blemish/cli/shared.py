"""What the commands share: progress on a terminal, settings from all sources, errors as one line."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from blemish.errors import BlemishError

if TYPE_CHECKING:
    from blemish.config.schema import Config
    from blemish.pipeline import Advancing

OK, UNEXPECTED, USAGE, SOME_SKIPPED, INTERRUPTED = 0, 1, 2, 3, 130


class Bars:
    """Progress on stderr: bars with time left on a terminal, one line per stage elsewhere, nothing when quiet."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet

    def stage(self, name: str, total: int) -> AbstractContextManager[Advancing]:
        """A display for one stage of the run."""
        return Bar(name, total, self.quiet)


class Bar:
    """The display of one stage; shown while it is entered."""

    def __init__(self, name: str, total: int, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        console = Console(stderr=True, quiet=quiet)
        if not console.is_terminal:
            if not quiet:
                print(f"{name} ({total})", file=sys.stderr, flush=True)
            console.quiet = True
        columns = (TextColumn("{task.description:28}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console)
        self.task = self.bar.add_task(name, total=total)

    def __enter__(self) -> Bar:
        self.bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.bar.stop()

    def advance(self, n: int = 1) -> None:
        """Say that ``n`` more items are done."""
        self.bar.advance(self.task, n)


def read_settings(
    config_file: Path | None, assignments: list[str] | None, *, threads: int | None = None, **flags: Any
) -> Config:
    """Flag, then environment, then file, then default. Sets the threads first: libraries read theirs when loaded."""
    use_threads(threads)
    from blemish.config.sources import gather, parse_value

    if isinstance(flags.get("clusters"), str):
        flags["clusters"] = parse_value(flags["clusters"])
    return gather(flags, assignments or [], config_file, os.environ)


def use_threads(threads: int | None) -> None:
    """Let torch, the compiled kernels and the BLAS of NumPy and SciPy use so many threads; None leaves the choice."""
    if threads:
        for name in ("NUMBA", "OMP", "OPENBLAS", "MKL"):  # each is read once, when its library is loaded
            os.environ[f"{name}_NUM_THREADS"] = str(threads)
        import torch

        torch.set_num_threads(threads)


class Guard:
    """Turns errors into one line on stderr and an exit code."""

    def __init__(self, verbose: bool) -> None:
        self.verbose = verbose

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if error is None or isinstance(error, typer.Exit):
            return
        if isinstance(error, KeyboardInterrupt):
            print("blemish: interrupted", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None
        if isinstance(error, BlemishError):
            print(f"blemish: {error}", file=sys.stderr)
            raise typer.Exit(USAGE) from None
        if isinstance(error, Exception):
            if self.verbose:
                traceback.print_exception(error)
            hint = "" if self.verbose else " (--verbose shows where)"
            print(f"blemish: unexpected {type(error).__name__}: {error}{hint}", file=sys.stderr)
            raise typer.Exit(UNEXPECTED) from None
