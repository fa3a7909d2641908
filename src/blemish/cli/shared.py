"""What the commands share: settings from all sources, the number of threads, errors as one line, exit codes."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from blemish.errors import BlemishError
from blemish.runtime.threads import check_thread_count

if TYPE_CHECKING:
    from blemish.config.schema import Config

OK, UNEXPECTED, USAGE, SOME_SKIPPED, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes."""


def read_settings(
    config_file: Path | None, assignments: list[str] | None, *, threads: int | None = None, **flags: Any
) -> Config:
    """The settings of a command. Flags take precedence over the environment, the environment over the file.

    The number of threads is set first, because libraries read it when they are loaded.
    """
    use_threads(threads)
    from blemish.config.schema import Config
    from blemish.config.sources import gather, parse_value

    if isinstance(flags.get("n_clusters"), str):
        flags["n_clusters"] = parse_value(flags["n_clusters"])
    return gather(Config, flags, assignments or [], config_file, os.environ)


def use_threads(threads: int | None) -> None:
    """Set the number of threads of torch, of the compiled kernels and of the BLAS of NumPy and SciPy; None = their choice.

    Raises:
        ConfigError: the number is larger than any machine is made for.
    """
    if threads:
        check_thread_count(threads)
        for name in ("NUMBA", "OMP", "OPENBLAS", "MKL"):  # each library reads its variable once, when it is loaded
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
